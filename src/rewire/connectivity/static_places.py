"""Places for all re-connections of a step at once, in tensors of fixed shape.

A *slot* is one re-connection. Slots claim entries and the smallest number wins, so an entry is
never given twice, and a slot that lost its entry asks again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewire.connectivity.static_tables import StaticTables, Window


@dataclass(frozen=True, eq=False)
class Claims:
    """Who holds which entry; changed in place.

    Entry N and slot M lie outside: the entry that nobody gets, and the slot that nobody is.

    Attributes:
        holder: (N + 1,) int32, the slot that holds an entry, M where it is free, −1 where it is
            connected (and for entry N).
        target: (M + 1,) int64, the entry that a slot claimed last, N before it claimed one.
        slots: (M,) int64, their numbers.
    """

    holder: Tensor
    target: Tensor
    slots: Tensor

    @classmethod
    def none(cls, connected: Tensor, capacity: int) -> Claims:
        """Before anything is claimed, from the mask (N,) of connected entries."""
        total, device = len(connected), connected.device
        holder = torch.full((total + 1,), capacity, dtype=torch.int32, device=device)
        holder[:-1].masked_fill_(connected, -1)
        holder[-1:].fill_(-1)
        target = torch.full((capacity + 1,), total, device=device)
        return cls(holder, target, torch.arange(capacity, device=device))

    def settled(self) -> Tensor:
        """(M,) bool, which slots hold what they claimed last."""
        return self.holder[self.target[:-1]] == self.slots

    def make(self, slots: Tensor, entries: Tensor) -> None:
        """`slots` (S,) claim `entries` (S,); each goes to the earliest of those that claimed it."""
        self.target.scatter_(0, slots, entries)
        self.holder.scatter_reduce_(0, entries, slots.to(self.holder.dtype), "amin")


def split(n: Tensor, *, sizes: Tensor, free: Tensor, draws: Tensor) -> Tensor:
    """`n` re-connections over the layers, each with probability size / total: (L,) int64.

    As `budget.split_over_layers`: draws that find a layer full are drawn again among the others.
    After the last draw the rest goes to the first layers with room, so the counts sum to `n`.

    Args:
        n: scalar, at most `free.sum()`.
        draws: (rounds, M) uniform numbers, n ≤ M.
    """
    slot = torch.arange(draws.shape[1], device=draws.device)
    counts = torch.zeros_like(free)
    for u in draws:
        bounds = torch.where(counts < free, sizes, 0).double().cumsum(0)
        layer = torch.searchsorted(bounds, u * bounds[-1], right=True).clamp(max=len(sizes) - 1)
        drawn = (slot < n - counts.sum()).to(counts.dtype)
        counts = torch.minimum(counts.scatter_add(0, layer, drawn), free)
    room = free - counts
    before = room.cumsum(0) - room
    rest = (n - counts.sum() - before).clamp(min=0)
    return counts + torch.minimum(rest, room)


def scatter(
    claims: Claims, wants: Tensor, layer: Tensor, tables: StaticTables, *, draws: Tensor
) -> None:
    """Uniform free entries of their layers for the slots that want one; a few may get none.

    Positions that are taken are drawn again, as often as there are draws.

    Args:
        wants: (M,) bool, which slots are served; `layer` (M,) of each.
        draws: (rounds, M) uniform numbers.
    """
    start, size, nobody = tables.starts[layer], tables.sizes[layer], len(claims.slots)
    for u in draws:
        entry = start + (u * size).long()
        fits = wants & ~claims.settled() & (claims.holder[entry] == nobody)
        claims.make(claims.slots, torch.where(fits, entry, claims.target[:-1]))


def fill(
    claims: Claims, wants: Tensor, layer: Tensor, tables: StaticTables, *, turn: Tensor
) -> None:
    """Free entries for the slots that `scatter` left: consecutive ones from a random one on.

    Every slot gets one if no layer is asked for more than it has. Few are left, nearly all in
    layers nearly full, so hardly two of them ever follow each other.

    Args:
        layer: (M,) ascending.
        turn: (L,) uniform numbers.
    """
    left = wants & ~claims.settled()
    free = (claims.holder[:-1] == len(claims.slots)).cumsum(0, dtype=torch.int32)
    upto = free[tables.ends - 1].long()
    count = upto.diff(prepend=upto.new_zeros(1))
    # The how-manieth of its layer's slots that are left.
    waiting = torch.zeros_like(count).scatter_add(0, layer, left.long())
    number = left.cumsum(0) - 1 - (waiting.cumsum(0) - waiting)[layer]
    rank = (number + (turn * count).long()[layer]) % count.clamp(min=1)[layer]
    rank = rank + (upto - count)[layer]
    entry = torch.searchsorted(free, (rank + 1).int()).clamp(max=tables.total - 1)
    claims.make(claims.slots, torch.where(left, entry, claims.target[:-1]))


@dataclass(frozen=True, eq=False)
class Seekers:
    """Slots that look for the nearest free entry of a source.

    Attributes:
        wants: (M,) bool, which slots do.
        source: (M,) int64, flat indices in θ; any entry of the slot's layer for the others.
        place: (M, 12) int32: coordinates of the source, shape and strides of its layer.
    """

    wants: Tensor
    source: Tensor
    place: Tensor

    @classmethod
    def of(cls, wants: Tensor, source: Tensor, layer: Tensor, tables: StaticTables) -> Seekers:
        shape, stride = tables.shapes[layer], tables.strides[layer]
        inside = (source - tables.starts[layer]).int()[:, None]
        return cls(wants, source, torch.cat([inside // stride % shape, shape, stride], dim=1))


def approach(
    claims: Claims,
    seekers: Seekers,
    *,
    window: Window,
    asking: int,
    ties: str,
    draws: Tensor | None,
) -> None:
    """One round of the search for the nearest free entries.

    The first `asking` slots without an entry claim the nearest one in the window that no earlier
    slot holds. A later slot that held it has to ask again in the next round. Entries only pass to
    earlier slots, so whenever the rounds end, every slot that holds an entry holds one that it
    could have got had those that hold one been asked one after the other.

    Args:
        ties: `random`, `first` or `same_vector`, as in `nearest.Search`.
        draws: (asking, W) uniform numbers, none for `first`.
    """
    slots, outside = len(claims.slots), len(claims.holder) - 1
    waits = seekers.wants & ~claims.settled()
    # Behind the last slot that waits comes the one that nobody is.
    chosen = torch.nonzero_static(waits, size=asking, fill_value=slots)[:, 0]
    slot = chosen.clamp(max=slots - 1)
    at, shape, stride = seekers.place[slot][:, None].split(4, dim=2)
    at = at + window.offsets
    fits = ((at >= 0) & (at < shape)).all(dim=2)
    shift = (window.offsets * stride).sum(dim=2)
    entry = torch.where(fits, seekers.source[slot][:, None] + shift, outside)
    available = claims.holder[entry] > chosen[:, None]
    key = torch.where(available, _keys(window, ties, draws), torch.inf)
    nearest = key.argmin(dim=1, keepdim=True)
    claims.make(chosen, torch.where(available, entry, outside).gather(1, nearest)[:, 0])


def _keys(window: Window, ties: str, draws: Tensor | None) -> Tensor:
    """What the search minimises: the distance, then the rule for ties."""
    if ties == "first":
        return torch.arange(len(window.distance), device=window.distance.device).float()
    if ties == "same_vector":
        draws = 0.5 * (draws + ~window.same_vector)
    return window.distance + draws
