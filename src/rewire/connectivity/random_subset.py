"""Uniform choices without replacement, without enumerating what is chosen from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rewire.connectivity.index_sets import distinct, first_of_each, numbered, select


def choose(candidates: Tensor, n: int, *, generator: torch.Generator) -> Tensor:
    """`n` distinct random elements of `candidates` (M,), n ≤ M, in random order."""
    size, device = len(candidates), candidates.device
    if 4 * n > size:
        return candidates[torch.randperm(size, generator=generator, device=device)[:n]]
    places = _draw(size, n, share=1.0, keep=lambda draws: draws, generator=generator, device=device)
    return candidates[places]


def choose_from_each(
    parts: Sequence[Tensor], numbers: Sequence[int], *, generator: torch.Generator
) -> list[Tensor]:
    """`choose` from every part; on a GPU from all at once, which launches a tenth of the kernels.

    Args:
        parts: G tensors (M,) of candidates.
        numbers: how many of each, at most M.
    """
    if parts[0].is_cpu:
        chosen = zip(parts, numbers, strict=True)
        return [choose(part, n, generator=generator) for part, n in chosen]
    size, device = sum(map(len, parts)), parts[0].device
    key = torch.rand(size, generator=generator, device=device, dtype=torch.float64)
    return first_of_each(parts, numbers, key=key)


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
    if not _few_of_many(n, free=free, size=size):
        return choose((theta <= 0).nonzero()[:, 0], n, generator=generator)

    def unconnected(draws: Tensor) -> Tensor:
        return select(draws, theta.index_select(0, draws) <= 0)

    return _draw(
        size, n, share=free / size, keep=unconnected, generator=generator, device=theta.device
    )


def choose_unconnected_in_each(
    theta: Tensor,
    spans: Sequence[slice],
    numbers: Sequence[int],
    *,
    free: Sequence[int],
    generator: torch.Generator,
) -> Tensor:
    """`choose_unconnected` in every span of θ (N,); on a GPU in all at once, where draws fit.

    Args:
        spans: G layers of the parameter, in order.
        numbers: how many of each, at most `free`, its number of entries with θ ≤ 0.

    Returns:
        Indices in θ, as many as the numbers sum to.
    """
    together, found = [], []
    for span, n, left in zip(spans, numbers, free, strict=True):
        if not theta.is_cpu and _few_of_many(n, free=left, size=span.stop - span.start):
            together.append((span, n, left))
        else:
            inside = choose_unconnected(theta[span], n, free=left, generator=generator)
            found.append(span.start + inside)
    if together:
        found.append(_draw_in_each(theta, *zip(*together, strict=True), generator=generator))
    return torch.cat(found)


def _few_of_many(n: int, *, free: int, size: int) -> bool:
    """Whether drawing n of `free` entries among `size` and dropping the others costs little."""
    return 2 * free >= size and 4 * n <= free


def _draw_in_each(theta, spans, numbers, free, *, generator) -> Tensor:
    """As `_draw`, for all spans: uniform positions, without those that may not be had."""
    device = theta.device
    starts = torch.tensor([span.start for span in spans], device=device)
    ends = torch.tensor([span.stop for span in spans], device=device)
    found, missing = torch.empty(0, dtype=torch.int64, device=device), list(numbers)
    while any(n > 0 for n in missing):
        wanted = [
            int(1.2 * n * (span.stop - span.start) / left) + 8 if n > 0 else 0
            for span, n, left in zip(spans, missing, free, strict=True)
        ]
        of = numbered(wanted, device=device)
        uniform = torch.rand(len(of), generator=generator, device=device, dtype=torch.float64)
        draws = starts[of] + (uniform * (ends - starts)[of]).long()
        found = distinct(torch.cat([found, draws[theta[draws] <= 0]]))
        counts = torch.searchsorted(found, ends).diff(prepend=starts.new_zeros(1)).tolist()
        missing = [n - count for n, count in zip(numbers, counts, strict=True)]
    parts = found.split(counts)
    return torch.cat(choose_from_each(parts, numbers, generator=generator))


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
