"""The nearest unconnected entry of given entries of a layer: exact, without looking at the layer.

At 1 % density almost every weight has an unconnected direct neighbour, so sorting all distances of
a layer (or building a tree over its unconnected entries) does a million times too much. Instead a
search goes outwards from each source, as far as something nearer than what it has found may be.

On a CPU the engine asks one source after the other (`engine/nearest.py`); on a GPU one kernel asks
for all at once (`nearest_gpu.py`). Where neither serves, a few offsets around each source
are looked at, shell after shell; the best entry of a shell is accepted only if nothing beyond could
be as near. At last the whole layer is looked at. All give the result of a brute-force search; of
equally near entries each draws its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from rewire.connectivity.index_sets import sort_with_rank
from rewire.connectivity.places import Places
from rewire.connectivity.shells import shells_of
from rewire.engine.library import instruction_set
from rewire.engine.nearest import nearest_one_by_one
from rewire.models.layout import SparseLayer
from rewire.options import Metric, Ties

FAR = torch.iinfo(torch.int64).max
CANDIDATES_AT_ONCE = 1_000_000
TOO_MANY = "more sources than unconnected entries"


@dataclass(frozen=True)
class Search:
    """What "nearest" means.

    Attributes:
        metric: `euclidean`, or `eq3`: Σ|p² − χ²| over the (zero-based) coordinates, as Equation 3
            of the thesis prints; or `matrix`: Euclid's distance in the matrix of outputs × vectors,
            in which half of the direct neighbours are in the same vector (of a kernel, a quarter).
        ties: which of several equally near entries: `random`; `first` in the order in which the
            reference stores a layer, input position by input position with the outputs innermost;
            or `same_vector`: one of the source's own vector if there is one, else random.
    """

    metric: Metric = "euclidean"
    ties: Ties = "random"


def nearest_unconnected(
    sources: Tensor,
    theta: Tensor,
    layers: Sequence[SparseLayer],
    *,
    search: Search,
    generator: torch.Generator,
) -> Tensor:
    """For each source in order, the nearest unconnected entry of its layer that is not taken yet.

    One source asks after the other, each taking its entry away from those that follow.

    Args:
        sources: (n,) indices of connected entries in the flat parameter, in order of precedence;
            an entry may come several times. No layer has more sources than unconnected entries.
        theta: (N,) flat parameter; unconnected where ≤ 0.
        layers: all layers of the parameter, in order. Neighbourhood means their index spaces.

    Returns:
        (n,) distinct indices in the flat parameter.
    """
    if theta.is_cpu and theta.dtype == torch.float32 and instruction_set() is not None:
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        found = nearest_one_by_one(
            sources, theta, layers, metric=search.metric, ties=search.ties, seed=seed
        )
        assert (found >= 0).all(), TOO_MANY
        return found
    in_one_kernel = _in_one_kernel() if theta.is_cuda else None
    if in_one_kernel is not None and search.metric != "eq3":
        found = in_one_kernel(
            sources, theta, layers, metric=search.metric, ties=search.ties, generator=generator
        )
        assert len(found) == len(sources), TOO_MANY
        return found
    return nearest_together(sources, theta, layers, search=search, generator=generator)


@lru_cache(maxsize=1)
def _in_one_kernel() -> Callable[..., Tensor] | None:
    """The kernel of GPUs, or None where there is no Triton to compile it."""
    try:
        from rewire.connectivity.nearest_gpu import nearest_in_one_kernel
    except ImportError:
        return None
    return nearest_in_one_kernel


def nearest_together(
    sources: Tensor,
    theta: Tensor,
    layers: Sequence[SparseLayer],
    *,
    search: Search,
    generator: torch.Generator,
) -> Tensor:
    """`nearest_unconnected` where all ask at once.

    An entry wanted by several goes to the first of them, and the others (also a later one that held
    it already) ask again. Because every entry prefers the earlier source, this deferred acceptance
    ends in exactly the sequential result.
    """
    places = Places.of(tuple(layers), theta.device, matrices=search.metric == "matrix")
    order = torch.arange(len(sources), device=theta.device)
    target = torch.empty_like(order)
    asking, held, by = order, order[:0], order[:0]
    while len(asking):
        target[asking] = _nearest(
            sources[asking], asking, held, by, theta, places, search=search, generator=generator
        )
        # Among those that want the same entry the earliest source comes first.
        wanted, source = sort_with_rank(target)
        first = torch.ones_like(wanted, dtype=torch.bool)
        torch.ne(wanted[1:], wanted[:-1], out=first[1:])
        held, by, asking = wanted[first], source[first], source[~first]
    return target


def _nearest(sources, rank, held, held_by, theta, places, *, search, generator) -> Tensor:
    """The nearest entry of each source that is unconnected and not held by an earlier source."""
    result = torch.empty_like(sources)
    pending = torch.arange(len(sources), device=sources.device)
    for width, look in _looks(theta, places, metric=search.metric):
        unsettled = [pending[:0]]
        # Bounded memory however many sources there are.
        for part in pending.split(max(1, CANDIDATES_AT_ONCE // width)):
            source = sources[part]
            index, distance, bound = look(source)
            if len(held):
                place = torch.searchsorted(held, index).clamp_(max=len(held) - 1)
                taken = (held[place] == index) & (held_by[place] < rank[part])
                distance = distance.masked_fill(taken, FAR)
            best = distance.min(dim=0).values  # many times faster than amin for int64
            tied = (distance == best) & (distance < FAR)
            choice = _break_ties(tied, index, source, places, search.ties, generator)
            result[part] = index.expand(tied.shape).gather(0, choice[None])[0]
            unsettled.append(part[best >= bound])
        pending = torch.cat(unsettled)
        if len(pending) == 0:
            return result
    raise AssertionError(TOO_MANY)


Look = Callable[[Tensor], tuple[Tensor, Tensor, Tensor | int]]
"""Sources (S,) → candidates (W, S) or (W, 1), their distances (W, S), FAR for what is not to be
had, and the least distance that anything not looked at can have, (S,) or one for all."""


def _looks(theta, places, *, metric) -> Iterator[tuple[int, Look]]:
    """Where to look, outwards until the whole layer has been seen: (number of candidates, look)."""
    around = partial(_look_around, theta=theta, places=places, metric=metric)
    for shell in shells_of(places.largest, metric, theta.device):
        yield len(shell.lengths), partial(around, shell=shell)
    everywhere = partial(_look_everywhere, theta=theta, places=places, metric=metric)
    yield places.largest_layer, everywhere


def _look_around(source, shell, *, theta, places, metric) -> tuple[Tensor, Tensor, Tensor | int]:
    """A `Look` at a shell; what does not exist or is connected is FAR."""
    centre, sizes, strides = places.coordinates(source)
    offsets = shell.offsets.movedim(-1, 0)
    at = centre[:, None] + offsets
    inside = ((at >= 0) & (at < sizes[:, None])).all(dim=0)
    index = source + (offsets * strides[:, None]).sum(dim=0)
    if metric == "eq3":
        distance = (at.square() - centre[:, None].square()).abs().sum(dim=0)
    else:
        distance = shell.lengths
    # Where there is no entry, the source itself stands in: it is connected.
    index = torch.where(inside, index, source)
    free = theta.index_select(0, index.view(-1)).view_as(index) <= 0
    distance = torch.where(free, distance, FAR)
    # Shells go outwards: what is found in one is nearer than everything beyond.
    bound = FAR if metric != "eq3" else _bound_outside(centre, sizes, shell.half_width)
    return index, distance, bound


def _look_everywhere(source, *, theta, places, metric) -> tuple[Tensor, Tensor, int]:
    """A `Look` at all unconnected entries of the sources' layers."""
    number = places.layer_of(source)
    spans = [places.layers[k].span for k in number.unique().tolist()]
    index = torch.cat([(theta[s] <= 0).nonzero() + s.start for s in spans])
    same_layer = places.layer_of(index) == number
    distance = torch.zeros_like(same_layer, dtype=torch.int64)
    for p, q in zip(places.coordinates(source)[0], places.coordinates(index)[0], strict=True):
        distance += (q - p).square() if metric != "eq3" else (q.square() - p.square()).abs()
    return index, torch.where(same_layer, distance, FAR), FAR


def _break_ties(tied, index, sources, places, ties, generator) -> Tensor:
    """Which candidate each source takes of those tied: (S,) positions along the first axis."""
    if ties == "first":
        return torch.where(tied, places.reference_order(index), FAR).min(dim=0).indices
    key = torch.rand(tied.shape, generator=generator, device=tied.device)
    if ties == "same_vector":
        key += places.vector_of(index) == places.vector_of(sources)
    return key.masked_fill_(~tied, -1.0).max(dim=0).indices


def _bound_outside(centre, sizes, half_width: int) -> Tensor:
    """Smallest `eq3` distance (S,) that an entry outside the box can have."""
    bound = torch.full_like(centre[0], FAR)
    for at, size in zip(centre, sizes, strict=True):
        for beyond in (at - half_width - 1, at + half_width + 1):
            distance = (beyond.square() - at.square()).abs()
            exists = (beyond >= 0) & (beyond < size)
            bound = torch.where(exists, torch.minimum(bound, distance), bound)
    return bound
