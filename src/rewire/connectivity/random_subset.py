"""Uniform choices without replacement, without enumerating what is chosen from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rewire.connectivity.index_sets import distinct, select


def choose(candidates: Tensor, n: int, *, generator: torch.Generator) -> Tensor:
    """`n` distinct random elements of `candidates` (M,), n ≤ M, in random order."""
    size, device = len(candidates), candidates.device
    if 4 * n > size:
        return candidates[torch.randperm(size, generator=generator, device=device)[:n]]
    places = _draw(size, n, share=1.0, keep=lambda draws: draws, generator=generator, device=device)
    return candidates[places]


def choose_unconnected(theta: Tensor, n: int, *, free: int, generator: torch.Generator) -> Tensor:
    """`n` distinct entries, uniform among those with θ ≤ 0, in random order.

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

    def unconnected(draws: Tensor) -> Tensor:
        return select(draws, theta.index_select(0, draws) <= 0)

    return _draw(
        size, n, share=free / size, keep=unconnected, generator=generator, device=theta.device
    )


def _draw(
    size: int,
    n: int,
    *,
    share: float,
    keep: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    device: torch.device,
) -> Tensor:
    """`n` distinct numbers below `size` that `keep` lets pass, a `share` of all, in random order.

    Draws and drops what may not be had and what came before: every set of n such numbers stays
    equally likely. For n well below what there is, few draws are dropped.
    """
    found = torch.empty(0, dtype=torch.int64, device=device)
    while len(found) < n:
        wanted = int(1.2 * (n - len(found)) / share) + 8
        draws = torch.randint(size, (wanted,), generator=generator, device=device)
        found = distinct(torch.cat([found, keep(draws)]))
    # Sorted by now, and more than enough.
    return found[torch.randperm(len(found), generator=generator, device=device)[:n]]
