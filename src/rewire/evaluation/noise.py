"""Accuracy under universal noise: with and without every vector, on one network and across heads.

"none" (the clean images) is always the first column. Accuracies are shares in [0, 1], as in the
article's plots and table.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rewire.attacks.checks import check_count
from rewire.attacks.judge import is_correct
from rewire.attacks.mode import attack_mode, full_float32
from rewire.attacks.universal import EVALUATIONS, apply_noise
from rewire.errors import InputError


@torch.no_grad()
def accuracy_under_noise(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    *,
    evaluation: str = "E1",
    batch_size: int = 1000,
    exclude_targets: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Count correct images without noise and under every vector, in full float32.

    Args:
        model: images (B, ...) → logits (B, 10), read in evaluation mode.
        images: float (N, ...) in [0, 1], on the model's device.
        labels: int64 (N,).
        noise: (V, pixels) on the same device.
        evaluation: "E1" adds the noise unclipped as in the article's plots, "E2" clips to [0, 1].
        batch_size: images per forward pass.
        exclude_targets: the target class of every vector; images of that class are not counted
            for it. `None` counts all images, as the article does.

    Returns:
        `correct` and `images`, integer counts, and `accuracy`, their ratio: lists of 1 + V.

    Raises:
        InputError: for no image, unequal lengths, or a value that is not allowed.
    """
    check_judged(images, labels, noise, evaluation, batch_size, exclude_targets)
    correct = np.zeros(1 + len(noise), int)
    with full_float32(images.device), attack_mode(model):
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            every = itertools.chain([x], (apply_noise(x, n, evaluation=evaluation) for n in noise))
            for column, fed in enumerate(every):
                right = is_correct(model(fed), y)
                if column and exclude_targets is not None:
                    right &= y != exclude_targets[column - 1]
                correct[column] += int(right.sum())
    counted = np.full(1 + len(noise), len(images))
    if exclude_targets is not None:
        of_class = torch.bincount(labels, minlength=1 + max(exclude_targets, default=0)).cpu()
        counted[1:] -= of_class[list(exclude_targets)].numpy()
    return {
        "correct": correct.tolist(),
        "images": counted.tolist(),
        "accuracy": (correct / np.maximum(counted, 1)).tolist(),
    }


def check_judged(
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    evaluation: str,
    batch_size: int,
    exclude_targets: Sequence[int] | None = None,
) -> None:
    """Refuse what `accuracy_under_noise` cannot judge.

    Raises:
        InputError: for no image, unequal lengths, or a value that is not allowed.
    """
    EVALUATIONS[evaluation]  # refuses an unknown name
    check_count("batch_size", batch_size)
    if not len(images) == len(labels) > 0:
        raise InputError(
            f"{len(images)} images and {len(labels)} labels. Allowed: as many of both, at least 1."
        )
    apply_noise(images[:1], noise, evaluation=evaluation)  # refuses another number of pixels
    if noise.ndim != 2:
        raise InputError(f"noise of shape {tuple(noise.shape)}. Allowed: (vectors, pixels).")
    if exclude_targets is not None and len(exclude_targets) != len(noise):
        raise InputError(
            f"{len(exclude_targets)} target classes for {len(noise)} vectors. Allowed: one each."
        )
