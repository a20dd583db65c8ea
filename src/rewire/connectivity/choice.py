"""Uniform choices without replacement, without enumerating what is chosen from."""

from __future__ import annotations

import torch
from torch import Tensor

from rewire.connectivity.indices import distinct


def choose(candidates: Tensor, n: int, *, generator: torch.Generator) -> Tensor:
    """`n` distinct random elements of `candidates` (M,), n ≤ M, in random order."""
    order = torch.randperm(len(candidates), generator=generator, device=candidates.device)
    return candidates[order[:n]]


def choose_unconnected(theta: Tensor, n: int, *, free: int, generator: torch.Generator) -> Tensor:
    """`n` distinct entries, uniform among those with θ ≤ 0.

    Draws positions and drops connected and repeated ones: every set of n unconnected entries stays
    equally likely. Where that would waste most draws the unconnected entries are listed instead.

    Args:
        theta: (size,) entries of one layer.
        n: how many, at most `free`.
        free: number of entries with θ ≤ 0.

    Returns:
        (n,) flat indices.
    """
    size = len(theta)
    if 2 * free < size or 4 * n > free:
        return choose((theta <= 0).nonzero()[:, 0], n, generator=generator)
    found = torch.empty(0, dtype=torch.int64, device=theta.device)
    while len(found) < n:
        draws = torch.randint(
            size, (2 * (n - len(found)) + 8,), generator=generator, device=theta.device
        )
        found = distinct(torch.cat([found, draws[theta.index_select(0, draws) <= 0]]))
    return choose(found, n, generator=generator)
