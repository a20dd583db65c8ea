"""Labelled images as tensors that stay on one device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels; 8-bit, because a whole data set then fits on the device.

    Attributes:
        images: uint8 (N, C, H, W), 0..255.
        labels: int64 (N,), the class of each image.
        indices: int64 (N,), the position of each image in its official split, so that per-image
            results of different runs can be paired.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8, self.images.dtype
        assert self.images.ndim == 4, self.images.shape
        for vector in (self.labels, self.indices):
            assert vector.dtype == torch.int64, vector.dtype
            assert vector.shape == self.images.shape[:1], vector.shape

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set on `device`; shares memory where it is there already."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.indices.to(device))

    def take(self, indices: Tensor) -> ImageSet:
        """The images at these places of this set: int64 (n,), in this order, repeats allowed."""
        indices = indices.to(self.images.device)
        return ImageSet(self.images[indices], self.labels[indices], self.indices[indices])


def as_float(images: Tensor) -> Tensor:
    """Images uint8 (..., H, W) as float32 in [0, 1], the range that every model takes."""
    return images.to(torch.float32) / 255
