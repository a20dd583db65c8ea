"""What `vector` and `gathered` share: re-connections into vectors drawn by their chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewire.connectivity.index_sets import sort_with_rank
from rewire.connectivity.random_subset import choose_unconnected
from rewire.connectivity.strategies.base import Demand
from rewire.models.layout import SparseLayer

DRAWS = 4  # of a row for every slot, before what is left of nearly full vectors is listed


@dataclass(frozen=True)
class Filling:
    """How full vectors are: a row for each of G layers, as long as the longest has vectors, W.

    Attributes:
        connected: (C,) connected entries of the layers, indices in the flat parameter.
        place: (C,) row · W + vector of each of them.
        living: (G, W) connected entries of each vector.
        room: (G, W) its unconnected entries; none behind a row's last vector.
        shapes: (3, G) offset, number of vectors and entries of a vector of each layer.
    """

    connected: Tensor
    place: Tensor
    living: Tensor
    room: Tensor
    shapes: Tensor

    @staticmethod
    def of(demands: Sequence[Demand]) -> Filling:
        width = max(demand.layer.vectors for demand in demands)
        connected = torch.cat([demand.connected for demand in demands])
        place = torch.cat(
            [
                row * width + (demand.connected - demand.layer.offset) % demand.layer.vectors
                for row, demand in enumerate(demands)
            ]
        )
        living = place.bincount(minlength=len(demands) * width).view(len(demands), width)
        layers = [demand.layer for demand in demands]
        shapes = torch.tensor(
            [[x.offset for x in layers], [x.vectors for x in layers], [x.fan_out for x in layers]],
            device=place.device,
        )
        _, vectors, fan_out = shapes
        exists = torch.arange(width, device=place.device) < vectors[:, None]
        return Filling(connected, place, living, exists * fan_out[:, None] - living, shapes)


def grow_into(
    chance: Callable[[Filling], Tensor],
    theta: Tensor,
    demands: Sequence[Demand],
    *,
    generator: torch.Generator,
) -> Tensor:
    """Draw n vectors of each layer by their chance; in each a uniform unconnected entry.

    Draws beyond a vector's unconnected entries are drawn again among the others; if all vectors of
    a layer that have a chance are full, the rest is uniform over the layer.

    Args:
        chance: how full vectors are → float64 (G, W), in each row ∝ the probability.
    """
    filling = Filling.of(demands)
    numbers = torch.tensor([demand.n for demand in demands])
    counts, missing = draw_vectors(chance(filling), filling.room, numbers, generator=generator)
    chosen = _entries_of(counts, filling.shapes, theta, demands, generator=generator)
    for demand, n in zip(demands, missing.tolist(), strict=True):
        if n:
            layer = demand.layer
            filled = theta.clone()
            filled[chosen] = 1.0
            free = layer.size - len(demand.connected) - (demand.n - n)
            rest = choose_unconnected(layer.of(filled), n, free=free, generator=generator)
            chosen = torch.cat([chosen, layer.offset + rest])
    return chosen


def draw_vectors(
    chances: Tensor, room: Tensor, numbers: Tensor, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw vectors of every row as often as its number says, or until all with a chance are full.

    Args:
        chances: (G, W) float64 ≥ 0, in each row ∝ the probability; of all layers at once, for on a
            GPU every operation costs the same whatever its size.
        room: (G, W) the most that a vector may be drawn.
        numbers: (G,) on the CPU.

    Returns:
        How often each vector is drawn, (G, W), and how often less than its number a row, (G,) on
        the CPU.
    """
    counts, width = torch.zeros_like(room), room.shape[1]
    missing = numbers
    while True:
        open_chances = chances * (counts < room)
        wanted = missing * (open_chances.sum(dim=1) > 0).cpu()
        rows = wanted.nonzero()[:, 0]
        if len(rows) == 0:
            return counts, missing
        most = int(wanted.max())
        wanted, rows = wanted[rows].to(room.device), rows.to(room.device)
        draws = open_chances[rows].multinomial(most, replacement=True, generator=generator)
        used = torch.arange(most, device=room.device) < wanted[:, None]
        drawn = (rows[:, None] * width + draws)[used].bincount(minlength=room.numel())
        counts = torch.minimum(counts + drawn.view_as(room), room)
        missing = numbers - counts.sum(dim=1).cpu()


def _entries_of(
    counts: Tensor,
    shapes: Tensor,
    theta: Tensor,
    demands: Sequence[Demand],
    *,
    generator: torch.Generator,
) -> Tensor:
    """A distinct uniform unconnected entry for each slot, inside the slot's vector.

    Draws rows and drops connected and repeated entries, which leaves every choice equally likely;
    slots that stay empty because their vector is nearly full get a random order of what is left.

    Args:
        counts: (G, W) slots of each vector, at most its unconnected entries.
        shapes: (3, G) of `Filling`.

    Returns:
        Indices in the flat parameter, one for each slot of all layers.
    """
    places = torch.arange(counts.numel(), device=theta.device).repeat_interleave(counts.view(-1))
    layer = places // counts.shape[1]
    offset, stride, fan_out = shapes[:, layer]
    slots = torch.stack([layer, offset + places % counts.shape[1], stride, fan_out])
    chosen = places[:0]
    for _ in range(DRAWS):
        layer, first, stride, fan_out = slots
        uniform = torch.rand(
            first.shape, generator=generator, device=theta.device, dtype=torch.float64
        )
        entries = torch.cat([chosen, first + (uniform * fan_out).long() * stride])
        # Of equal entries the first is kept: those that were chosen before.
        ordered, position = sort_with_rank(entries)
        keep = theta.index_select(0, entries) <= 0
        keep[position[1:][ordered[1:] == ordered[:-1]]] = False
        slots = slots[:, ~keep[len(chosen) :]]
        chosen = entries[keep]
        if slots.shape[1] == 0:
            return chosen
    layer, first, _, _ = slots
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
