"""Uniform noise per image: the same whatever else is attacked, on any device, in any batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewire.rng import derive_seed


def image_noise(
    shape: Sequence[int], *, seed: int, purpose: str, keys: Sequence[tuple[int, ...]]
) -> Tensor:
    """Uniform noise in [0, 1) of `shape` for each of `keys`, stacked: (len(keys), *shape).

    Each entry is a function of (seed, purpose, its key) alone, drawn on the CPU; a key holds the
    image's index in its split and, say, the restart.
    """
    noise = torch.empty(len(keys), *shape)
    # One generator, seeded again for every image: making one costs more than the draw.
    source = torch.Generator()
    for entry, key in zip(noise, keys, strict=True):
        source.manual_seed(derive_seed(seed, purpose, *key))
        torch.rand(entry.shape, generator=source, out=entry)
    return noise
