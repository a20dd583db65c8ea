"""Correct images under universal noise: first without any, then under every vector."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from rewire.attacks.checks import check_count
from rewire.attacks.judge import is_correct
from rewire.attacks.mode import attack_mode, full_float32
from rewire.attacks.universal import EVALUATIONS, apply_noise
from rewire.errors import InputError


@torch.no_grad()
def correct_under_noise(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    *,
    evaluation: str = "E1",
    batch_size: int = 1000,
) -> np.ndarray:
    """Count correct images without noise and under every vector, in full float32.

    Args:
        model: images (B, ...) → logits (B, 10), read in evaluation mode.
        images: float (N, ...) in [0, 1], on the model's device.
        labels: int64 (N,).
        noise: (V, pixels) on the same device.
        evaluation: "E1" adds the noise unclipped as in the article's plots, "E2" clips to [0, 1].
        batch_size: images per forward pass.

    Returns:
        int64 (1 + V,), of N.

    Raises:
        InputError: for no image, unequal lengths, or a value that is not allowed.
    """
    check_judged(images, labels, noise, evaluation, batch_size)
    correct = np.zeros(1 + len(noise), np.int64)
    with full_float32(images.device), attack_mode(model):
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            every = itertools.chain([x], (apply_noise(x, n, evaluation=evaluation) for n in noise))
            for column, fed in enumerate(every):
                correct[column] += int(is_correct(model(fed), y).sum())
    return correct


def check_judged(
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    evaluation: str,
    batch_size: int,
) -> None:
    """Refuse what `correct_under_noise` cannot judge.

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
