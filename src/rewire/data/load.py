"""The three image sets of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from rewire.data.checks import check_count
from rewire.data.images import ImageSet
from rewire.data.settings import ImageData
from rewire.data.split import first_balanced, split_validation
from rewire.registry import DATASETS, Registry

SPLITS: Registry[Callable[..., tuple[ImageSet, ImageSet]]] = Registry("validation split")
SPLITS.register("balanced")(split_validation)


@SPLITS.register("first")
def split_first(train: ImageSet, *, size: int) -> tuple[ImageSet, ImageSet]:
    """Hold out the first `size` training images, whatever their classes (article, MNIST).

    Args:
        train: the official training images, or a subset.
        size: number of images to hold out, 0..len(train)-1.

    Returns:
        (train, validation), disjoint, together all of `train`, both in its order.

    Raises:
        InputError: for a size out of range.
    """
    check_count("data.validation_size", size, low=0, high=len(train) - 1)
    places = torch.arange(len(train))
    return train.take(places[size:]), train.take(places[:size])


def load_images(data: ImageData) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Training, validation and test images as they are; see `load_data`."""
    return load_data(**data.model_dump(exclude={"augmentation"}))


def load_data(
    *,
    source: str,
    root: str | Path,
    validation_size: int,
    train_size: int | None = None,
    test_size: int | None = None,
    dataset: str = "cifar10",
    split: str = "balanced",
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Load a data set as training, validation and test images.

    The validation images are held out of the training images first, so they are the same for every
    `train_size`. Smaller sizes take the first images, class-balanced as far as possible.

    Args:
        source: `embedded`, `folder` or `download`; see `load_cifar10` and `load_mnist`.
        root: the folder of the official files.
        validation_size: number of training images to hold out; 0 for none.
        train_size: number of training images to use, at least 1; None for all that remain.
        test_size: number of test images to use, at least 1; None for all.
        dataset: a key of `DATASETS`.
        split: what is held out: `balanced`, a random class-balanced part, or `first`, the first
            images in the official order (article: the first 5,000 of MNIST's 60,000).

    Returns:
        (train, validation, test).

    Raises:
        InputError: for a size out of range, an unknown name, and where the data set's loader does.
    """
    load, hold_out = DATASETS[dataset], SPLITS[split]
    train, validation = hold_out(
        load(source=source, root=root, split="train"), size=validation_size
    )
    test = load(source=source, root=root, split="test")
    return _first("train", train, train_size), validation, _first("test", test, test_size)


def _first(split: str, data: ImageSet, size: int | None) -> ImageSet:
    if size is None:
        return data
    return first_balanced(data, check_count(f"data.{split}_size", size, low=1, high=len(data)))
