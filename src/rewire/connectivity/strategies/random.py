"""`random`: re-connections fall uniformly on a layer's unconnected entries (reference code)."""

from __future__ import annotations

import torch
from torch import Tensor

from rewire.connectivity.random_subset import choose_unconnected
from rewire.connectivity.strategies.base import per_layer
from rewire.models.layout import SparseLayer
from rewire.registry import STRATEGIES


@STRATEGIES.register("random")
@per_layer
def random(
    layer: SparseLayer,
    theta: Tensor,
    connected: Tensor,
    n: int,
    *,
    generator: torch.Generator,
) -> Tensor:
    """The thesis's "unstructured" rewiring."""
    free = layer.size - len(connected)
    return choose_unconnected(theta, n, free=free, generator=generator)
