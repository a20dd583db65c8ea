"""What `l2` and `weighted` share: re-connections next to chosen living weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rewire.connectivity.nearest import Search, nearest_unconnected
from rewire.connectivity.random_subset import choose_unconnected
from rewire.connectivity.strategies.base import Demand
from rewire.models.layout import SparseLayer


def next_to(
    choose_sources: Callable[[Tensor, int], Tensor],
    theta: Tensor,
    layers: Sequence[SparseLayer],
    demands: Sequence[Demand],
    *,
    search: Search,
    generator: torch.Generator,
) -> Tensor:
    """Each source re-connects its nearest unconnected entry, in the order of the sources.

    Where a layer demands more than it has sources, they are gone through again. A layer without
    any connection has no neighbourhood: there the entries are uniform.

    Args:
        choose_sources: (connected entries (C,), number ≤ C) → as many of them, in order.
    """
    sources, elsewhere = [], []
    for demand in demands:
        connected, n = demand.connected, demand.n
        if len(connected):
            chosen = choose_sources(connected, min(n, len(connected)))
            sources.append(chosen.repeat(-(-n // len(chosen)))[:n])
        else:
            layer = demand.layer
            entries = choose_unconnected(layer.of(theta), n, free=layer.size, generator=generator)
            elsewhere.append(entries + layer.offset)
    if sources:
        together = torch.cat(sources)
        found = nearest_unconnected(together, theta, layers, search=search, generator=generator)
        elsewhere.append(found)
    return torch.cat(elsewhere)
