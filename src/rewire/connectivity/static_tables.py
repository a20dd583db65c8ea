"""What the fixed-shape sampling step knows before it starts: layer tables, windows, randomness.

Everything here depends on the network and the settings alone, so a step needs no shape, no loop
count and no branch that the device would have to tell the host.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rewire.models.layout import SparseLayer

# (radius, share of the slots that may ask at once, rounds): nearly every slot finds a place right
# beside its source, so the larger windows need to serve only few.
SCHEDULE = ((1, 1, 1), (2, 4, 2), (4, 16, 1), (8, 128, 2))
FEW = 64  # slots that may always ask at once
SPLITS = 2  # draws of layers, before the rest goes to the first layers with room
DRAWS = 2  # draws of uniform positions, before the rest is taken by rank


@dataclass(frozen=True, eq=False)
class Window:
    """Offsets in a Euclidean ball around a source, nearest first, equally near as `ties=first` has
    it: the outputs are the innermost axis.

    Attributes:
        offsets: (W, 4) int32.
        distance: (W,) float32, squared.
        same_vector: (W,) bool, whether the offset stays in the source's vector.
    """

    offsets: Tensor
    distance: Tensor
    same_vector: Tensor


@dataclass(frozen=True, eq=False)
class StaticTables:
    """The layers of a network as tensors on its device.

    Attributes:
        total: N, number of weights.
        sizes, starts, ends: (L,) int64, size and span of each layer in the flat θ.
        shapes, strides: (L, 4) int32, of the index space (out, kernel row, kernel column, in);
            1 for the kernel of a dense layer.
        windows: one for each radius of `SCHEDULE`.
    """

    total: int
    sizes: Tensor
    starts: Tensor
    ends: Tensor
    shapes: Tensor
    strides: Tensor
    windows: tuple[Window, ...]


def static_tables(
    layers: tuple[SparseLayer, ...], *, device: torch.device | str = "cpu"
) -> StaticTables:
    """Make the tables of `layers`; the one moment at which data go to the device."""
    shapes = [s if len(s) == 4 else (s[0], 1, 1, s[1]) for s in (layer.shape for layer in layers)]
    strides = [[math.prod(shape[axis + 1 :]) for axis in range(4)] for shape in shapes]
    reach = [max(shape[axis] for shape in shapes) - 1 for axis in range(4)]
    ends = list(itertools.accumulate(layer.size for layer in layers))
    return StaticTables(
        total=ends[-1],
        sizes=torch.tensor([layer.size for layer in layers], device=device),
        starts=torch.tensor([layer.offset for layer in layers], device=device),
        ends=torch.tensor(ends, device=device),
        shapes=torch.tensor(shapes, dtype=torch.int32, device=device),
        strides=torch.tensor(strides, dtype=torch.int32, device=device),
        windows=tuple(_window(radius, reach, device=device) for radius, _, _ in SCHEDULE),
    )


def _window(radius: int, reach: list[int], *, device: torch.device | str) -> Window:
    axes = [range(-min(radius, r), min(radius, r) + 1) for r in reach]
    squared = {offset: sum(o * o for o in offset) for offset in itertools.product(*axes)}
    near = [(d, o) for o, d in squared.items() if d <= radius * radius]
    near = sorted(near, key=lambda entry: (entry[0], entry[1][1:], entry[1][0]))[1:]
    # A network of layers with a single entry has no offset at all: one that leads outside.
    near = near or [(1, (1, 0, 0, 0))]
    return Window(
        offsets=torch.tensor([o for _, o in near], dtype=torch.int32, device=device),
        distance=torch.tensor([d for d, _ in near], dtype=torch.float32, device=device),
        same_vector=torch.tensor([not any(o[1:]) for _, o in near], device=device),
    )


def rounds(tables: StaticTables, capacity: int) -> list[tuple[Window, int]]:
    """The window of every round of the search and how many slots may ask in it."""
    return [
        (window, min(capacity, max(FEW, capacity // share)))
        for window, (_, share, count) in zip(tables.windows, SCHEDULE, strict=True)
        for _ in range(count)
    ]


@dataclass(frozen=True, eq=False)
class Draws:
    """All random numbers of one step, uniform in [0, 1).

    Positions are float64: a float32 has too few values to hit every entry equally often.

    Attributes:
        layer: (`SPLITS`, M) float64.
        position: (`DRAWS`, M) float64, and `turn` (L,) float64 for those that are left.
        order: (K,) float32, precedence of the living entries, or None.
        ties: for every round of the search (asking, W) float32; none where not needed.
    """

    layer: Tensor
    position: Tensor
    turn: Tensor
    order: Tensor | None
    ties: tuple[Tensor, ...]


def draw(
    tables: StaticTables,
    *,
    budget: int,
    strategy: str,
    ties: str,
    capacity: int,
    generator: torch.Generator,
) -> Draws:
    """The random numbers of one step, apart from the noise, on the tables' device."""

    def uniform(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype, device=tables.sizes.device)

    searched = strategy != "random" and ties != "first"
    return Draws(
        layer=uniform(SPLITS, capacity, dtype=torch.float64),
        position=uniform(DRAWS, capacity, dtype=torch.float64),
        turn=uniform(len(tables.sizes), dtype=torch.float64),
        order=uniform(budget) if strategy == "l2" else None,
        ties=tuple(
            uniform(asking, len(window.distance))
            for window, asking in (rounds(tables, capacity) if searched else ())
        ),
    )
