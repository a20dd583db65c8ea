"""The three image sets of a run."""

from __future__ import annotations

from pathlib import Path

from rewire.data.checks import check_count
from rewire.data.cifar10 import load_cifar10
from rewire.data.images import ImageSet
from rewire.data.split import first_balanced, split_validation


def load_data(
    *,
    source: str,
    root: str | Path,
    validation_size: int,
    train_size: int | None = None,
    test_size: int | None = None,
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Load CIFAR-10 as training, validation and test images.

    The validation images are held out of the training images first, so they are the same for every
    `train_size`. Smaller sizes take the first images, class-balanced as far as possible.

    Args:
        source: `embedded`, `folder` or `download`; see `load_cifar10`.
        root: the folder of the official files.
        validation_size: number of training images to hold out; 0 for none.
        train_size: number of training images to use, at least 1; None for all that remain.
        test_size: number of test images to use, at least 1; None for all.

    Returns:
        (train, validation, test).

    Raises:
        InputError: for a size out of range, and where `load_cifar10` does.
    """
    official = load_cifar10(source=source, root=root, split="train")
    train, validation = split_validation(official, size=validation_size)
    test = load_cifar10(source=source, root=root, split="test")
    return _first("train", train, train_size), validation, _first("test", test, test_size)


def _first(split: str, data: ImageSet, size: int | None) -> ImageSet:
    if size is None:
        return data
    return first_balanced(data, check_count(f"data.{split}_size", size, low=1, high=len(data)))
