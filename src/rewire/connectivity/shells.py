"""Offsets around an entry, in the order in which a search goes outwards."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

# Largest squared length in each Euclidean shell, half-width of each box of `eq3`.
SQUARED_RADII = (1, 2, 4, 16, 64)
HALF_WIDTHS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Shell:
    """Offsets (W, 1, D) around a source, their squared lengths (W, 1), and how far they reach."""

    offsets: Tensor
    lengths: Tensor
    half_width: int


@lru_cache(maxsize=256)
def shells_of(sizes: tuple[int, ...], metric: str, device: torch.device) -> tuple[Shell, ...]:
    """What to look at one after the other: Euclidean shells, or boxes for `eq3`.

    A box holds what is inside it, too, as a smaller one may leave a source unsettled.

    Args:
        sizes: of the axes of the index space; no offset is longer than they allow.
        metric: see `Search`.
        device: where the shells are made for.
    """
    shells, inner = [], 0
    for step in HALF_WIDTHS if metric == "eq3" else SQUARED_RADII:
        half_width = step if metric == "eq3" else math.isqrt(step)
        reach = [min(half_width, size - 1) for size in sizes]
        offsets = torch.tensor(list(itertools.product(*(range(-r, r + 1) for r in reach))))
        lengths = offsets.square().sum(-1)
        chosen = lengths > inner
        if metric != "eq3":
            chosen &= lengths <= step
            inner = step
        if chosen.any():
            around, far = offsets[chosen, None].to(device), lengths[chosen, None].to(device)
            shells.append(Shell(around, far, half_width))
    return tuple(shells)
