"""The nearest unconnected entries on a GPU: all sources ask at once, in one kernel.

A source goes outwards over offsets sorted by their length, takes the nearest unconnected entry that
no earlier source holds, and claims it. Who is turned out of an entry by an earlier source asks
again, in the thread that turned it out. Every entry prefers the earlier source, so owners only ever
get earlier, and however the threads are ordered all end where one source after the other would
have ended (Gale and Shapley's deferred acceptance).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import torch
import triton
import triton.language as tl
from torch import Tensor

from rewire.connectivity.places import Places
from rewire.models.layout import SparseLayer
from rewire.options import Metric, Ties

RADIUS = 8
"""How far offsets reach: a source that finds nothing there looks at its whole layer."""
BLOCK = 32  # offsets looked at together
WIDE = 256  # entries of a whole layer looked at together
NOBODY = 2**31 - 1  # owner of an entry that nobody holds


def nearest_in_one_kernel(
    sources: Tensor,
    theta: Tensor,
    layers: Sequence[SparseLayer],
    *,
    metric: Metric,
    ties: Ties,
    generator: torch.Generator,
) -> Tensor:
    """For each source in order, the nearest unconnected entry of its layer that is not taken yet.

    Args:
        sources: (n,) indices of connected entries in the flat parameter.
        theta: (N,) on a GPU.
        layers: all layers of the parameter.
        metric: `euclidean` or `matrix`; see `rewire.connectivity.nearest.Search`.
        ties: see there.
        generator: of random ties, on that GPU.

    Returns:
        (n,) distinct indices in the flat parameter; fewer where a layer has no entry left.
    """
    if not len(sources):
        return sources
    places = Places.of(tuple(layers), theta.device, matrices=metric == "matrix")
    around = _around(places.largest, theta.device)
    # Stays on the device: reading it would wait for what is queued there.
    seed = torch.randint(2**63 - 1, (1,), generator=generator, device=theta.device)
    owner = torch.full(theta.shape, NOBODY, dtype=torch.int32, device=theta.device)
    _ask[(len(sources),)](
        sources,
        theta,
        owner,
        places.sizes,
        places.strides,
        places.starts,
        places.ends,
        places.vectors,
        around.offsets,
        around.lengths,
        seed,
        len(layers),
        len(around.lengths),
        TIES=get_args(Ties).index(ties),
        AXES=len(places.largest),
        LAYERS=triton.next_power_of_2(len(layers)),
        BLOCK=BLOCK,
        WIDE=WIDE,
        NOBODY=NOBODY,
        num_warps=1,
    )
    held = (owner != NOBODY).nonzero()[:, 0]
    return held[owner[held].argsort()]


@dataclass(frozen=True)
class _Around:
    """Offsets (AXES, W) by squared length (W,); W is a multiple of BLOCK, the rest out of reach."""

    offsets: Tensor
    lengths: Tensor


@lru_cache(maxsize=16)
def _around(sizes: tuple[int, ...], device: torch.device) -> _Around:
    """All offsets up to RADIUS but the source itself, none longer than the axes' sizes allow."""
    reach = [min(RADIUS, size - 1) for size in sizes]
    offsets = torch.tensor(list(itertools.product(*(range(-r, r + 1) for r in reach))))
    lengths = offsets.square().sum(-1)
    lengths, order = lengths.sort(stable=True)
    chosen = (lengths > 0) & (lengths <= RADIUS**2)
    offsets, lengths = offsets[order[chosen]], lengths[chosen]
    missing = -len(lengths) % BLOCK
    # Too long to be inside any layer.
    beyond = torch.full((missing, len(sizes)), 2 * max(sizes))
    offsets = torch.cat([offsets, beyond]).t().contiguous()
    lengths = torch.cat([lengths, torch.full((missing,), RADIUS**2 + 1)])
    return _Around(offsets.int().to(device), lengths.int().to(device))


@triton.jit
def _nearer(
    best, taken, index, exists, distance, theta, owner, ties: tl.constexpr,
    seed, rank, source, start, outputs, vectors,
):  # fmt: skip
    """The best key and its entry, of the ones so far and those at `index` that are to be had.

    A key is distance and tie in one number: the smallest is the entry to take.
    """
    FAR: tl.constexpr = 0x7FFF_FFFF_FFFF_FFFF
    free = exists & (tl.load(theta + index, mask=exists, other=1.0) <= 0)
    holder = tl.load(owner + index, mask=free, other=-1, volatile=True)
    tie = _tie(ties, seed, rank, index, source - start, index - start, outputs, vectors)
    key = tl.where(holder > rank, (distance << 32) | tie, FAR)
    least = tl.min(key)
    where = tl.min(tl.where(key == least, index, FAR))
    return tl.minimum(least, best), tl.where(least < best, where, taken)


@triton.jit
def _tie(ties: tl.constexpr, seed, rank, index, source, inside, outputs, vectors):
    """Which of equally near entries comes first: the smallest of these, below 2³¹."""
    if ties == 1:  # first
        return inside % vectors * outputs + inside // vectors
    drawn, _, _, _ = tl.philox(seed, index.to(tl.uint32), rank.to(tl.uint32), 0, 1)
    drawn = (drawn >> 2).to(tl.int64)
    if ties == 2:  # same_vector
        return drawn + tl.where(inside % vectors == source % vectors, 0, 1 << 30)
    return drawn


@triton.jit
def _ask(
    sources, theta, owner, sizes, strides, starts, ends, vectors, offsets, lengths,
    seeds, layers, width,
    TIES: tl.constexpr, AXES: tl.constexpr, LAYERS: tl.constexpr,
    BLOCK: tl.constexpr, WIDE: tl.constexpr, NOBODY: tl.constexpr,
):  # fmt: skip
    FAR: tl.constexpr = 0x7FFF_FFFF_FFFF_FFFF
    rank = tl.program_id(0)
    numbers = tl.arange(0, LAYERS)
    bounds = tl.load(ends + numbers, mask=numbers < layers, other=FAR)
    seed = tl.load(seeds)
    asks = True
    while asks:
        source = tl.load(sources + rank)
        layer = tl.sum((bounds <= source).to(tl.int32))
        start = tl.load(starts + layer)
        end = tl.load(ends + layer)
        outputs = tl.load(sizes + layer)
        fan_in = tl.load(vectors + layer)
        best = tl.full((), FAR, tl.int64)
        taken = source
        at = 0
        reach = tl.load(lengths).to(tl.int64)
        while (at < width) & (best >> 32 >= reach):
            lanes = at + tl.arange(0, BLOCK)
            index = tl.full((BLOCK,), 0, tl.int64) + source
            exists = tl.full((BLOCK,), 1, tl.int1)
            for axis in tl.static_range(AXES):
                size = tl.load(sizes + axis * layers + layer)
                stride = tl.load(strides + axis * layers + layer)
                centre = (source - start) // stride % size
                offset = tl.load(offsets + axis * width + lanes).to(tl.int64)
                exists &= (centre + offset >= 0) & (centre + offset < size)
                index += offset * stride
            distance = tl.load(lengths + lanes).to(tl.int64)
            best, taken = _nearer(
                best, taken, index, exists, distance, theta, owner, TIES,
                seed, rank, source, start, outputs, fan_in,
            )  # fmt: skip
            at += BLOCK
            reach = tl.load(lengths + at, mask=at < width, other=0).to(tl.int64)
        if best == FAR:
            begin = start
            while begin < end:
                index = begin + tl.arange(0, WIDE)
                exists = index < end
                distance = tl.full((WIDE,), 0, tl.int64)
                for axis in tl.static_range(AXES):
                    size = tl.load(sizes + axis * layers + layer)
                    stride = tl.load(strides + axis * layers + layer)
                    away = (index - start) // stride % size - (source - start) // stride % size
                    distance += away * away
                best, taken = _nearer(
                    best, taken, index, exists, distance, theta, owner, TIES,
                    seed, rank, source, start, outputs, fan_in,
                )  # fmt: skip
                begin += WIDE
        if best == FAR:
            asks = False  # the layer has no entry left
        else:
            before = tl.atomic_min(owner + taken, rank)
            asks = before != NOBODY
            # An earlier source was faster: ask again. A later one held it: that one asks again.
            rank = tl.where(asks & (before > rank), before, rank)
