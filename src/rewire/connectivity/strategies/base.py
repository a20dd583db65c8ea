"""The contract of a rewiring strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from rewire.models.layout import SparseLayer


@dataclass(frozen=True)
class Demand:
    """What one layer needs.

    Attributes:
        layer: the layer.
        connected: (C,) its connected entries, sorted indices in the flat parameter.
        n: re-connections to make, 1 ≤ n ≤ unconnected entries of the layer.
        density: K / N, the connected share of the whole network.
    """

    layer: SparseLayer
    connected: Tensor
    n: int
    density: float


# (θ (N,), all layers, demands of those that need some; generator, own options) → the new entries:
# as many distinct unconnected indices in the flat parameter inside each layer as it demands, in any
# order.
Strategy = Callable[..., Tensor]


def per_layer(one_layer: Callable[..., Tensor]) -> Strategy:
    """A strategy from a function that serves one layer and sees nothing else.

    Args:
        one_layer: (layer, its θ (size,), its connected entries (C,) sorted, n; generator, own
            options) → (n,) distinct unconnected entries. All indices are those inside the layer.
    """

    @wraps(one_layer)
    def strategy(
        theta: Tensor,
        layers: Sequence[SparseLayer],
        demands: Sequence[Demand],
        *,
        generator: torch.Generator,
        **options: Any,
    ) -> Tensor:
        return torch.cat(
            [
                layer.offset
                + one_layer(
                    layer,
                    layer.of(theta),
                    demand.connected - layer.offset,
                    demand.n,
                    generator=generator,
                    **options,
                )
                for demand in demands
                for layer in [demand.layer]
            ]
        )

    return strategy
