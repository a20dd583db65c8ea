"""How many connections each layer receives."""

from __future__ import annotations

import torch
from torch import Tensor


def split_over_layers(n: int, *, sizes: Tensor, free: Tensor, generator: torch.Generator) -> Tensor:
    """Split `n` re-connections over the layers, each drawn with probability size / total.

    Draws that exceed a layer's unconnected entries are drawn again among the layers with room, so
    the counts always sum to `n` (reference code: Categorical(size / total)).

    Args:
        n: re-connections, at most `free.sum()`.
        sizes: (L,) weights per layer.
        free: (L,) unconnected entries per layer.

    Returns:
        (L,) int64 counts on the CPU.
    """
    assert n <= int(free.sum()), "more re-connections than unconnected entries"
    sizes, free = sizes.double().cpu(), free.long().cpu()
    counts = torch.zeros_like(free)
    missing = n
    while missing > 0:
        weights = sizes * (counts < free)
        draws = torch.multinomial(weights, missing, replacement=True, generator=generator)
        counts = torch.minimum(counts + draws.bincount(minlength=len(sizes)), free)
        missing = n - int(counts.sum())
    return counts
