"""Random augmentation of a batch, each image with its own numbers from an explicit generator."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from rewire.registry import Registry

SHIFT_RANGE = 0.1
"""Largest shift of `shift` as a fraction of width and height (the reference's setting)."""
CROP_PADDING = 4
"""Black pixels that `crop` adds on every side."""


class Augmentation(Protocol):
    """A pure function: float images (B, C, H, W) in [0, 1] -> new images of the same kind.

    The same generator state gives the same result. The generator may live on another device than
    the images: its numbers are moved, so a CPU generator gives the same images on every device.
    """

    def __call__(self, images: Tensor, *, generator: torch.Generator) -> Tensor: ...


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")


@AUGMENTATIONS.register("none")
def none(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """The images as they are."""
    return images


@AUGMENTATIONS.register("shift")
def shift(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Shift by up to 10 % of height and width, then flip left-right with probability 1/2.

    The shift is continuous and uniform (+-3.2 px at 32 px), the image bilinear and continued by its
    edge pixels: what the reference gets from Keras' ImageDataGenerator(width_shift_range=0.1,
    height_shift_range=0.1, horizontal_flip=True). Arguments and result: see `Augmentation`.
    """
    height, width = images.shape[2:]
    down, right, coin = _uniform(3, images, generator)
    down, right = ((2 * u - 1) * SHIFT_RANGE * n for u, n in ((down, height), (right, width)))
    top, left = down.floor(), right.floor()
    pad_y, pad_x = (int(SHIFT_RANGE * n) + 1 for n in (height, width))
    padded = pad(images, (pad_x, pad_x, pad_y, pad_y), mode="replicate")
    # A window one pixel larger than the image holds both neighbours of every bilinear sample.
    window = _windows(padded, pad_y + top.long(), pad_x + left.long(), height + 1, width + 1)
    rows = torch.lerp(window[:, :, :-1], window[:, :, 1:], _per_image(down - top))
    shifted = torch.lerp(rows[..., :-1], rows[..., 1:], _per_image(right - left))
    return _flip(shifted, coin)


@AUGMENTATIONS.register("whole_shift")
def whole_shift(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """`shift` by whole pixels, up to 10 % of height and width (+-3 px at 32 px).

    Between pixels `shift` takes weighted means and so blurs every training image, but no test
    image; this one keeps them sharp. Arguments and result: see `Augmentation`.
    """
    height, width = images.shape[2:]
    down, right, coin = _uniform(3, images, generator)
    far_y, far_x = (int(SHIFT_RANGE * n) for n in (height, width))
    top, left = ((u * (2 * far + 1)).long() for u, far in ((down, far_y), (right, far_x)))
    padded = pad(images, (far_x, far_x, far_y, far_y), mode="replicate")
    return _flip(_windows(padded, top, left, height, width), coin)


@AUGMENTATIONS.register("crop")
def crop(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Crop at a random place after 4 px of zero padding, then flip with probability 1/2.

    Arguments and result: see `Augmentation`.
    """
    height, width = images.shape[2:]
    top, left, coin = _uniform(3, images, generator)
    top, left = ((u * (2 * CROP_PADDING + 1)).long() for u in (top, left))
    padded = pad(images, (CROP_PADDING,) * 4)
    return _flip(_windows(padded, top, left, height, width), coin)


def _uniform(rows: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers (rows, B), uniform in [0, 1), on the images' device."""
    # From pinned memory the copy to a GPU does not wait for the work that is queued there.
    pinned = images.is_cuda and generator.device.type == "cpu"
    numbers = torch.rand(
        rows, len(images), generator=generator, device=generator.device, pin_memory=pinned
    )
    return numbers.to(images.device, non_blocking=True)


def _windows(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """The (height, width) window of each image at its own (top, left), both int64 (B,)."""
    every_window = images.unfold(2, height, 1).unfold(3, width, 1)
    return every_window[torch.arange(len(images), device=images.device), :, top, left]


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _flip(images: Tensor, coin: Tensor) -> Tensor:
    return torch.where(_per_image(coin < 0.5), images.flip(3), images)
