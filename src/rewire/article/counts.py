"""From counts of correct images to accuracies by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rewire.errors import InputError

Count = tuple[int, int]
"""(correct images, images)."""


class Counted(Protocol):
    """Correct images and images per column: without noise, then under every vector."""

    @property
    def correct(self) -> Sequence[int]: ...
    @property
    def images(self) -> Sequence[int]: ...


def percents(measured: Counted) -> list[float]:
    """Accuracy of every column in percent."""
    return [100 * k / n for k, n in zip(measured.correct, measured.images, strict=True)]


def counted(measured: Counted, columns: Sequence[str]) -> dict[str, Count]:
    """Column → counts.

    Raises:
        InputError: for lists of other lengths than `columns`, or impossible counts.
    """
    correct, images = measured.correct, measured.images
    if not len(correct) == len(images) == len(columns):
        raise InputError(
            f"{len(correct)} counts of {len(images)} for {len(columns)} columns. Allowed: as many."
        )
    if any(not 0 <= k <= n for k, n in zip(correct, images, strict=True)):
        raise InputError(f"{correct} of {images} images are correct: impossible.")
    return dict(zip(columns, zip(correct, images, strict=True), strict=True))


def accuracies(measured: Counted, columns: Sequence[str]) -> dict[str, float]:
    """Column → accuracy; columns without images are out. Raises as `counted`."""
    return {column: k / n for column, (k, n) in counted(measured, columns).items() if n}
