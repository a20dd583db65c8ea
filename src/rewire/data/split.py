"""Class-balanced subsets and the held-out validation split."""

from __future__ import annotations

import torch
from torch import Tensor

from rewire.data.checks import check_count
from rewire.data.images import ImageSet
from rewire.rng import generator

SPLIT_SEED = 0
"""Seed of the validation split: the same images are held out in runs of every training seed."""


def balanced_order(labels: Tensor) -> Tensor:
    """An order of the images in which every prefix is as class-balanced as possible.

    First the first image of every class, then the second of every class, and so on; images of
    equal rank, and all images of one class, keep their order.

    Args:
        labels: int64 (N,).

    Returns:
        int64 (N,), a permutation of 0..N-1.
    """
    by_class = labels.argsort(stable=True)
    counts = torch.bincount(labels)
    starts = (counts.cumsum(0) - counts)[labels[by_class]]
    rank = torch.empty_like(labels)
    rank[by_class] = torch.arange(len(labels), device=labels.device) - starts
    return rank.argsort(stable=True)


def first_balanced(data: ImageSet, size: int) -> ImageSet:
    """The first `size` images, class-balanced as far as possible, in the order of `data`.

    Args:
        data: any labelled images.
        size: 0..len(data). If it is a multiple of the number of classes and no class runs out,
            these are the first images of every class in equal numbers.
    """
    return data.take(balanced_order(data.labels)[:size].sort().values)


def split_validation(
    train: ImageSet, *, size: int, seed: int = SPLIT_SEED
) -> tuple[ImageSet, ImageSet]:
    """Hold out a random, class-balanced part of the training images.

    Args:
        train: the official training images, or a subset.
        size: number of images to hold out, 0..len(train)-1; 0 gives an empty validation set.
        seed: of the choice; leave the default, so that no run selects on another's training data.

    Returns:
        (train, validation), disjoint, together all of `train`, both in its order.

    Raises:
        InputError: for a size out of range.
    """
    check_count("data.validation_size", size, low=0, high=len(train) - 1)
    random = generator(seed, "validation split")
    shuffled = torch.randperm(len(train), generator=random).to(train.labels.device)
    held_out = torch.zeros(len(train), dtype=torch.bool, device=train.labels.device)
    held_out[shuffled[balanced_order(train.labels[shuffled])[:size]]] = True
    return train.take((~held_out).nonzero().flatten()), train.take(held_out.nonzero().flatten())
