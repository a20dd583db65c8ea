"""Sets of indices, fast on both kinds of device.

On the CPU these few operations go through NumPy (sharing memory), which does each of them two to
ten times faster than torch does; on a GPU they are torch's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LOW = 0xFFFF_FFFF  # the half of a 64-bit key that holds a rank


def positive_entries(values: Tensor) -> Tensor:
    """Sorted indices (·,) of the entries of `values` (N,) above 0."""
    if values.is_cpu:
        return torch.from_numpy(np.flatnonzero(values.numpy() > 0))
    return (values > 0).nonzero()[:, 0]


def positive_entries_beside(values: Tensor, known: Tensor) -> Tensor:
    """`positive_entries(values)`, nearly all of which are the sorted indices `known`."""
    if not values.is_cpu:
        return positive_entries(values)
    others = values.numpy() > 0
    if np.count_nonzero(others) == len(known):
        return known
    others[known.numpy()] = False
    return insert_sorted(known, torch.from_numpy(np.flatnonzero(others)))


def set_entries(values: Tensor, indices: Tensor, new: Tensor) -> None:
    """values[indices] = new, in place; `values` (N,), `indices` (A,) distinct, `new` (A,)."""
    if values.is_cpu:
        values.numpy()[indices.numpy()] = new.numpy()
    else:
        values.scatter_(0, indices, new)


def insert_sorted(indices: Tensor, new: Tensor) -> Tensor:
    """Sorted union (A + B,) of sorted `indices` (A,) and of `new` (B,), which has none of them."""
    if len(new) == 0:
        return indices
    if indices.is_cpu:
        both = np.concatenate([indices.numpy(), np.sort(new.numpy())])
        both.sort(kind="stable")  # finds the two sorted runs and merges them
        return torch.from_numpy(both)
    return torch.cat([indices, new]).sort().values


def select(values: Tensor, mask: Tensor) -> Tensor:
    """The `values` (N,) where the `mask` (N,) holds, in order."""
    return torch.from_numpy(values.numpy()[mask.numpy()]) if values.is_cpu else values[mask]


def distinct(values: Tensor) -> Tensor:
    """The different ones of `values` (N,), in ascending order."""
    ordered = sort_values(values)
    first = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=first[1:])
    return select(ordered, first)


def sort_values(values: Tensor) -> Tensor:
    """`values` (N,) in ascending order."""
    return torch.from_numpy(np.sort(values.numpy())) if values.is_cpu else values.sort().values


def sort_with_rank(values: Tensor) -> tuple[Tensor, Tensor]:
    """(sorted values, their positions), both (N,); equal values in the order of their positions.

    Args:
        values: (N,) int64, 0 ≤ value < 2³¹ and N < 2³²: value and position are sorted as one key.
    """
    rank = torch.arange(len(values), device=values.device)
    key = sort_values((values << 32) | rank)
    return key >> 32, key & LOW


def largest(values: Tensor, n: int) -> Tensor:
    """Positions (n,) of the n largest of `values` (N,) on the CPU, the largest first; 1 ≤ n ≤ N."""
    array = values.numpy()
    chosen = np.argpartition(array, len(array) - n)[len(array) - n :]
    return torch.from_numpy(chosen[np.argsort(array[chosen])[::-1].copy()])


def largest_of_each(
    parts: Sequence[Tensor], numbers: Sequence[int], values: Tensor
) -> list[Tensor]:
    """The indices of each part at which `values` (N,) are largest, the largest first.

    Args:
        parts: G tensors (M,) of indices.
        numbers: how many of each, 1 to M.
    """
    if values.is_cpu:
        chosen = zip(parts, numbers, strict=True)
        return [part[largest(values.index_select(0, part), n)] for part, n in chosen]
    return first_of_each(parts, numbers, key=-values[torch.cat(list(parts))])


def first_of_each(parts: Sequence[Tensor], numbers: Sequence[int], *, key: Tensor) -> list[Tensor]:
    """The elements of each part with its smallest keys, the smallest first, by two sorts for all.

    Args:
        parts: G tensors (M,) on one device.
        numbers: how many of each, at most M.
        key: (ΣM,) of the elements of all parts, one part after the other.
    """
    sizes = [len(part) for part in parts]
    group = numbered(sizes, device=key.device)
    by_key = key.argsort(stable=True)
    order = by_key[group[by_key].argsort(stable=True)]
    heads = zip(order.split(sizes), numbers, strict=True)
    chosen = torch.cat(list(parts))[torch.cat([positions[:n] for positions, n in heads])]
    return list(chosen.split(list(numbers)))


def numbered(sizes: Sequence[int], *, device: torch.device) -> Tensor:
    """0 as often as the first size says, 1 as often as the second, and so on."""
    counts = torch.tensor(sizes, device=device)
    numbers = torch.arange(len(sizes), device=device)
    return numbers.repeat_interleave(counts, output_size=sum(sizes))
