"""The contract of a rewiring strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps

import torch
from torch import Tensor

from rewire.connectivity.nearest import Search
from rewire.errors import InputError
from rewire.models.layout import SparseLayer
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


@dataclass(frozen=True)
class Demand:
    """What one layer needs.

    Attributes:
        layer: the layer.
        connected: (C,) its connected entries, sorted indices in the flat parameter.
        n: re-connections to make, 1 ≤ n ≤ unconnected entries of the layer.
    """

    layer: SparseLayer
    connected: Tensor
    n: int


# (θ (N,), all layers, demands of those that need some; options, generator) → the new entries: as
# many distinct unconnected indices in the flat parameter inside each layer as it demands, in any
# order.
Strategy = Callable[..., Tensor]
STRATEGIES: Registry[Strategy] = Registry("rewiring strategy")


def per_layer(one_layer: Callable[..., Tensor]) -> Strategy:
    """A strategy from a function that serves one layer and sees nothing else.

    Args:
        one_layer: (layer, its θ (size,), its connected entries (C,) sorted, n; options, generator)
            → (n,) distinct unconnected entries. All indices are those inside the layer.
    """

    @wraps(one_layer)
    def strategy(
        theta: Tensor,
        layers: Sequence[SparseLayer],
        demands: Sequence[Demand],
        *,
        options: StrategyOptions,
        generator: torch.Generator,
    ) -> Tensor:
        return torch.cat(
            [
                layer.offset
                + one_layer(
                    layer,
                    layer.of(theta),
                    demand.connected - layer.offset,
                    demand.n,
                    options=options,
                    generator=generator,
                )
                for demand in demands
                for layer in [demand.layer]
            ]
        )

    return strategy
