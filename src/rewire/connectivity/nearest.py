"""The nearest unconnected entry of given entries of a layer: exact, without looking at the layer.

At 1 % density almost every weight has an unconnected direct neighbour, so sorting all distances of
a layer (or building a tree over its unconnected entries) does a million times too much. Instead a
small window of offsets around each source is looked at; its best entry is accepted only if nothing
outside the window could be as near, else a larger window is tried and at last the whole layer. The
result is the same as that of a brute-force search.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from rewire.errors import unknown_name

METRICS = ("euclidean", "eq3")
TIES = ("random", "first", "same_vector")
FAR = torch.iinfo(torch.int64).max
WINDOWS = (1, 2, 4, 8)  # half-widths; beyond, every unconnected entry of the layer is looked at
CANDIDATES_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Search:
    """What "nearest" means.

    Attributes:
        metric: `euclidean`, or `eq3`: Σ|p² − χ²| over the (zero-based) coordinates, as Equation 3
            of the thesis prints.
        ties: which of several equally near entries: `random`; `first` in storage order; or
            `same_vector`: one of the source's own vector if there is one, else random.
    """

    metric: str = "euclidean"
    ties: str = "random"

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise unknown_name("metric", self.metric, METRICS)
        if self.ties not in TIES:
            raise unknown_name("ties", self.ties, TIES)


def nearest_unconnected(
    sources: Tensor,
    theta: Tensor,
    shape: tuple[int, ...],
    *,
    n: int,
    search: Search,
    generator: torch.Generator,
) -> Tensor:
    """For the first `n` sources in order, the nearest unconnected entry that is not taken yet.

    Equal to asking one source after the other, each taking its entry away from those that follow.
    All ask at once, though: an entry wanted by several goes to the first of them, and the others
    (also a later one that held it already) ask again. Because every entry prefers the earlier
    source, this deferred acceptance ends in exactly the sequential result.

    Args:
        sources: (S,) flat indices, S ≥ 1, in order of precedence. If `n` exceeds S, the list is
            gone through again, as often as needed.
        theta: (size,) entries of the layer; unconnected where ≤ 0.
        shape: index space of the layer, in storage order.
        n: entries to find, at most the unconnected ones.

    Returns:
        (n,) distinct flat indices, entry k for source k mod S.
    """
    order = torch.arange(n, device=theta.device)
    sources = sources[order % len(sources)]
    target = torch.full_like(order, -1)
    while True:
        asking = (target < 0).nonzero()[:, 0]
        if len(asking) == 0:
            return target
        held, by = target[target >= 0].sort()
        by = (target >= 0).nonzero()[:, 0][by]
        proposed = _nearest(
            sources[asking], asking, held, by, theta, shape, search=search, generator=generator
        )
        target[asking] = proposed
        # Stable sort: among those that want the same entry the earliest source comes first.
        wanted, source = target.sort(stable=True)
        loses = wanted[1:] == wanted[:-1]
        target[source[1:][loses & (wanted[1:] >= 0)]] = -1


def _nearest(sources, rank, held, held_by, theta, shape, *, search, generator) -> Tensor:
    """The nearest entry of each source that is unconnected and not held by an earlier source."""
    result = torch.full_like(sources, -1)
    pending = torch.arange(len(sources), device=sources.device)
    candidates, bound = None, None
    for half_width in (*WINDOWS, None):
        if half_width is None:  # the windows were too small: look at every unconnected entry
            candidates = _coordinates((theta <= 0).nonzero()[:, 0], shape)
        else:
            offsets = _window(shape, half_width, search.metric).to(sources.device)
        unsettled = [pending[:0]]
        # Bounded memory however many sources there are.
        width = len(offsets) if half_width else len(candidates)
        for part in pending.split(max(1, CANDIDATES_AT_ONCE // width)):
            centre = _coordinates(sources[part], shape)
            at = candidates[None] if half_width is None else centre[:, None, :] + offsets
            index, distance = _distances(centre, at, theta, shape, search.metric)
            if len(held):
                place = torch.searchsorted(held, index).clamp_(max=len(held) - 1)
                taken = (held[place] == index) & (held_by[place] < rank[part, None])
                distance = torch.where(taken, FAR, distance)
            best = distance.min(dim=1).values
            tied = (distance == best[:, None]) & (distance < FAR)
            choice = _break_ties(tied, index, sources[part], shape, search.ties, generator)
            result[part] = index.expand(tied.shape).gather(1, choice[:, None])[:, 0]
            bound = FAR
            if half_width:
                bound = _bound_outside(centre, shape, half_width, search.metric)
            unsettled.append(part[best >= bound])
        pending = torch.cat(unsettled)
        if len(pending) == 0:
            return result
    raise AssertionError("more sources than unconnected entries")


def _distances(centre, at, theta, shape, metric) -> tuple[Tensor, Tensor]:
    """Flat index (·, W) and distance (S, W) of candidates; FAR where outside or connected."""
    inside = ((at >= 0) & (at < at.new_tensor(shape))).all(-1)
    index = torch.where(inside, (at * _strides(shape, at.device)).sum(-1), 0)
    if metric == "euclidean":
        distance = (at - centre[:, None, :]).square().sum(-1)
    else:
        distance = (at.square() - centre.square()[:, None, :]).abs().sum(-1)
    return index, torch.where(inside & (theta[index] <= 0), distance, FAR)


def _break_ties(tied, index, sources, shape, ties, generator) -> Tensor:
    """Which candidate each source takes of those tied: (S,) positions along the last axis."""
    if ties == "first":
        return torch.where(tied, index, FAR).argmin(dim=1)
    key = torch.rand(tied.shape, generator=generator, device=tied.device)
    if ties == "same_vector":
        vectors = math.prod(shape[1:])
        key += index % vectors == (sources % vectors)[:, None]
    return torch.where(tied, key, -1.0).argmax(dim=1)


def _bound_outside(centre: Tensor, shape, half_width: int, metric: str) -> Tensor | int:
    """Smallest distance that an entry outside the window can have: (S,) or one for all."""
    if metric == "euclidean":
        return half_width * half_width + 1  # the window is the whole ball, distances are squared
    bounds = []
    for beyond in (centre - half_width - 1, centre + half_width + 1):
        distance = (beyond.square() - centre.square()).abs()
        exists = (beyond >= 0) & (beyond < centre.new_tensor(shape))
        bounds.append(torch.where(exists, distance, FAR).min(dim=1).values)
    return torch.minimum(*bounds)


@lru_cache(maxsize=256)
def _window(shape: tuple[int, ...], half_width: int, metric: str) -> Tensor:
    """Offsets (W, D) around a source: a Euclidean ball, or a box for `eq3`."""
    reach = [min(half_width, size - 1) for size in shape]
    offsets = torch.tensor(list(itertools.product(*(range(-r, r + 1) for r in reach))))
    squared = offsets.square().sum(-1)
    if metric == "euclidean":
        return offsets[(squared > 0) & (squared <= half_width * half_width)]
    return offsets[squared > 0]


def _coordinates(index: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.stack(torch.unravel_index(index, shape), dim=-1)


def _strides(shape: tuple[int, ...], device: torch.device) -> Tensor:
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return torch.tensor(strides, device=device)
