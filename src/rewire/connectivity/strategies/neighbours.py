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
    choose_sources: Callable[[Sequence[Tensor], Sequence[int]], Sequence[Tensor]],
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
        choose_sources: (connected entries (C,) of some layers, a number ≤ C for each) → as many of
            each, in order.
    """
    elsewhere = []
    for demand in demands:
        if not len(demand.connected):
            layer, n = demand.layer, demand.n
            entries = choose_unconnected(layer.of(theta), n, free=layer.size, generator=generator)
            elsewhere.append(entries + layer.offset)
    near = [demand for demand in demands if len(demand.connected)]
    if near:
        connected = [demand.connected for demand in near]
        chosen = choose_sources(connected, [min(d.n, len(d.connected)) for d in near])
        together = torch.cat(
            [_again(part, demand.n) for part, demand in zip(chosen, near, strict=True)]
        )
        found = nearest_unconnected(together, theta, layers, search=search, generator=generator)
        elsewhere.append(found)
    return torch.cat(elsewhere)


def _again(sources: Tensor, n: int) -> Tensor:
    """The first n (n,) of the sources, gone through as often as it takes."""
    return sources if len(sources) == n else sources.repeat(-(-n // len(sources)))[:n]
