"""The contract of a rewiring strategy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from rewire.connectivity.nearest import Search
from rewire.errors import InputError
from rewire.registry import Registry


@dataclass(frozen=True)
class StrategyOptions:
    """Options of all strategies; each reads those that concern it.

    Attributes:
        search: metric and tie-breaking of `l2` and `weighted`.
        gamma: exponent of `vector`.
    """

    search: Search = field(default_factory=Search)
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 10:
            raise InputError(f"rewire.gamma is {self.gamma}. Allowed: 0 to 10.")


# (layer, its θ (size,), its connected entries (C,) sorted, n ≤ size − C; options, generator)
# → (n,) distinct unconnected flat indices inside the layer.
Strategy = Callable[..., Tensor]
STRATEGIES: Registry[Strategy] = Registry("rewiring strategy")
