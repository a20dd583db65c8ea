"""Augmentation of a training batch: ours against one image at a time.

The plain loop takes the numbers that ours takes and must give the same images. torchvision draws
its own: RandomAffine, or RandomCrop, then RandomHorizontalFlip, one image after the other as a
DataLoader calls them. These two work on the CPU and move the batch; ours works where the images
are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from benchmarks.harness import Row, judged, measure
from rewire.data.augment import AUGMENTATIONS, CROP_PADDING, SHIFT_RANGE
from rewire.data.embedded import load_embedded
from rewire.data.images import as_float
from rewire.rng import generator

DEVICES = ("cpu", "cuda")
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {"batch_size": 128, "rounds": 21},
    "quick": {"batch_size": 8, "rounds": 2},
}
TOLERANCE = 1e-5


def run(*, device: torch.device, cache: Path, batch_size: int, rounds: int) -> list[Row]:
    images = load_embedded("train").images[:batch_size]
    there = images.to(device)
    rows = []
    for name, plain in PLAIN.items():
        library = TORCHVISION[name]

        def ours(name: str = name) -> Tensor:
            return AUGMENTATIONS[name](as_float(there), generator=generator(0, "bench"))

        def loop(plain: Callable[..., Tensor] = plain) -> Tensor:
            numbers = torch.rand(3, len(images), generator=generator(0, "bench"))
            pairs = zip(images, numbers.T.tolist(), strict=True)
            return torch.stack([plain(as_float(x), *u) for x, u in pairs]).to(device)

        def torchvision(library: v2.Transform = library) -> Tensor:
            return torch.stack([library(as_float(x)) for x in images]).to(device)

        tasks = {"ours": ours, "plain loop": loop, "torchvision v2": torchvision}
        timings = measure(tasks, rounds=rounds, warm_up=2, device=device)
        equal = bool((ours() - loop()).abs().max() <= TOLERANCE)
        for by, timing in timings.items():
            row: Row = {"augmentation": name, "by": by, "images": len(images), **timing.columns()}
            if by != "ours":
                row |= judged("times ours", timing.median / timings["ours"].median)
            rows.append(row | ({"equal images": equal} if by == "plain loop" else {}))
    return rows


def plain_shift(image: Tensor, down: float, right: float, coin: float) -> Tensor:
    """Shift one image (C, H, W) by up to a tenth, bilinear, edges continued, then flip or not."""
    _, height, width = image.shape
    y = torch.arange(height, device=image.device) + (2 * down - 1) * SHIFT_RANGE * height
    x = torch.arange(width, device=image.device) + (2 * right - 1) * SHIFT_RANGE * width
    rows, columns = 2 * y / (height - 1) - 1, 2 * x / (width - 1) - 1
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    shifted = F.grid_sample(image[None], grid[None], padding_mode="border", align_corners=True)[0]
    return shifted.flip(2) if coin < 0.5 else shifted


def plain_crop(image: Tensor, down: float, right: float, coin: float) -> Tensor:
    """Crop one image (C, H, W) at a random place of its zero-padded self, then flip or not."""
    _, height, width = image.shape
    top, left = (int(u * (2 * CROP_PADDING + 1)) for u in (down, right))
    padded = F.pad(image, (CROP_PADDING,) * 4)
    cropped = padded[:, top : top + height, left : left + width]
    return cropped.flip(2) if coin < 0.5 else cropped


PLAIN = {"shift": plain_shift, "crop": plain_crop}
TORCHVISION = {
    "shift": v2.Compose(
        [
            v2.RandomAffine(
                degrees=0,
                translate=(SHIFT_RANGE, SHIFT_RANGE),
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.RandomHorizontalFlip(),
        ]
    ),
    "crop": v2.Compose([v2.RandomCrop(32, padding=CROP_PADDING), v2.RandomHorizontalFlip()]),
}
