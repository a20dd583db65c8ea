"""What `vector` and `gathered` share: re-connections into vectors drawn by their chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rewire.connectivity.index_sets import sort_with_rank
from rewire.connectivity.random_subset import choose_unconnected
from rewire.connectivity.strategies.base import Demand
from rewire.models.layout import SparseLayer

DRAWS = 4  # of a row for every slot, before what is left of nearly full vectors is listed


def grow_into(
    chance: Callable[[Demand, Tensor, Tensor], Tensor],
    theta: Tensor,
    demands: Sequence[Demand],
    *,
    generator: torch.Generator,
) -> Tensor:
    """Draw n vectors of each layer by their chance; in each a uniform unconnected entry.

    Draws beyond a vector's unconnected entries are drawn again among the others; if all vectors of
    a layer that have a chance are full, the rest is uniform over the layer.

    Args:
        chance: (what one layer needs, the vector of each of its connected entries (C,), connected
            entries of each vector (vectors,)) → float64 (vectors,), ∝ the probability.
    """
    slots = [_slots(demand, chance, generator=generator) for demand in demands]
    chosen = _entries_of(slots, theta, demands, generator=generator)
    for demand, drawn in zip(demands, slots, strict=True):
        missing = demand.n - len(drawn)
        if missing:
            layer = demand.layer
            filled = theta.clone()
            filled[chosen] = 1.0
            free = layer.size - len(demand.connected) - len(drawn)
            rest = choose_unconnected(layer.of(filled), missing, free=free, generator=generator)
            chosen = torch.cat([chosen, layer.offset + rest])
    return chosen


def _slots(
    demand: Demand,
    chance: Callable[[Demand, Tensor, Tensor], Tensor],
    *,
    generator: torch.Generator,
) -> Tensor:
    """The vector of each re-connection, (n,) or fewer if the vectors with a chance get full."""
    vectors = demand.layer.vectors
    inside = (demand.connected - demand.layer.offset) % vectors
    living = torch.bincount(inside, minlength=vectors)
    chances = chance(demand, inside, living)
    room = demand.layer.fan_out - living
    counts = torch.zeros_like(living)
    missing = demand.n
    while missing > 0 and bool((chances * (counts < room)).any()):
        open_chance = chances * (counts < room)
        draws = torch.multinomial(open_chance, missing, replacement=True, generator=generator)
        counts = torch.minimum(counts + draws.bincount(minlength=vectors), room)
        missing = demand.n - int(counts.sum())
    return counts.nonzero()[:, 0].repeat_interleave(counts[counts > 0])


def _entries_of(
    slots: Sequence[Tensor],
    theta: Tensor,
    demands: Sequence[Demand],
    *,
    generator: torch.Generator,
) -> Tensor:
    """A distinct uniform unconnected entry for each slot, inside the slot's vector.

    Draws rows and drops connected and repeated entries, which leaves every choice equally likely;
    slots that stay empty because their vector is nearly full get a random order of what is left.

    Args:
        slots: per layer, the vector of each slot; none more often than it has unconnected entries.

    Returns:
        Indices in the flat parameter, one for each slot of all layers.
    """
    counts = torch.tensor([len(part) for part in slots], device=theta.device)

    def of_each(values: list[int]) -> Tensor:
        return torch.tensor(values, device=theta.device).repeat_interleave(counts)

    layer = of_each(list(range(len(demands))))
    first = torch.cat(list(slots)) + of_each([d.layer.offset for d in demands])
    stride = of_each([d.layer.vectors for d in demands])
    fan_out = of_each([d.layer.fan_out for d in demands])
    chosen = first[:0]
    for _ in range(DRAWS):
        uniform = torch.rand(
            first.shape, generator=generator, device=theta.device, dtype=torch.float64
        )
        entries = torch.cat([chosen, first + (uniform * fan_out).long() * stride])
        # Of equal entries the first is kept: those that were chosen before.
        ordered, position = sort_with_rank(entries)
        keep = theta.index_select(0, entries) <= 0
        keep[position[1:][ordered[1:] == ordered[:-1]]] = False
        left = ~keep[len(chosen) :]
        chosen = entries[keep]
        layer, first, stride, fan_out = layer[left], first[left], stride[left], fan_out[left]
        if len(first) == 0:
            return chosen
    found = [chosen]
    for number in layer.unique().tolist():
        part = demands[number].layer
        mine = (chosen >= part.offset) & (chosen < part.span.stop)
        found.append(
            part.offset
            + _listed(
                first[layer == number] - part.offset,
                chosen[mine] - part.offset,
                part.of(theta),
                part,
                generator=generator,
            )
        )
    return torch.cat(found)


def _listed(
    slots: Tensor,
    chosen: Tensor,
    theta: Tensor,
    layer: SparseLayer,
    *,
    generator: torch.Generator,
) -> Tensor:
    """The same for slots of one layer by listing all entries of their vectors; indices in it."""
    vectors, counts = slots.unique(return_counts=True)
    columns = (theta.view(layer.fan_out, layer.vectors)[:, vectors] > 0).clone()
    place = torch.searchsorted(vectors, chosen % layer.vectors).clamp_(max=len(vectors) - 1)
    inside = vectors[place] == chosen % layer.vectors
    columns[chosen[inside] // layer.vectors, place[inside]] = True
    key = torch.rand(columns.shape, generator=generator, device=theta.device)
    order = torch.where(columns, 2.0, key).argsort(dim=0)
    ranks = torch.arange(layer.fan_out, device=theta.device)[:, None]
    row, column = (ranks < counts).nonzero(as_tuple=True)
    return order[row, column] * layer.vectors + vectors[column]
