"""`random`: re-connections fall uniformly on a layer's unconnected entries (reference code)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewire.connectivity.random_subset import choose_unconnected_in_each
from rewire.connectivity.strategies.base import Demand
from rewire.models.layout import SparseLayer
from rewire.registry import STRATEGIES


@STRATEGIES.register("random")
def random(
    theta: Tensor,
    layers: Sequence[SparseLayer],
    demands: Sequence[Demand],
    *,
    generator: torch.Generator,
) -> Tensor:
    """The thesis's "unstructured" rewiring."""
    spans = [demand.layer.span for demand in demands]
    free = [demand.layer.size - len(demand.connected) for demand in demands]
    numbers = [demand.n for demand in demands]
    return choose_unconnected_in_each(theta, spans, numbers, free=free, generator=generator)
