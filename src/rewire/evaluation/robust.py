"""Clean and robust accuracy of one model on one set of images (thesis, Table 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rewire.attacks.autoattack import AutoAttack
from rewire.attacks.judge import FOOLED_BY
from rewire.attacks.pgd import PGD
from rewire.data.images import ImageSet, as_float
from rewire.errors import InputError
from rewire.evaluation.accuracy import percent


def evaluate(
    model: nn.Module,
    data: ImageSet,
    *,
    attack: PGD | AutoAttack,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Attack `model` on all of `data` and count, worst case per image.

    Args:
        model: classifier on `device`.
        data: images with labels and their positions in the official split.
        attack: the evaluation attack.
        batch_size: replaces the attack's batch size; it changes the speed, not the result.
        device: where to compute.
        progress: called with (images decided, images to decide).

    Returns:
        `images`, `clean_count`, `robust_count`, `steps_run`, `fragile` (int), `clean_accuracy` and
        `robust_accuracy` (%), `fooled_by` (name of an attack → images that it fooled first), and
        `arrays`: the per-image ledger as NumPy arrays `indices` (int64), `labels` (int64),
        `clean_correct`, `robust_correct` (bool), `fooled_by` (int8) and `fooled_at_restart` (int16
        or int32; both as in `AttackResult`).

    Raises:
        InputError: if there is no image.
    """
    if not len(data):
        raise InputError("no image to evaluate. Allowed: a data set of at least one image.")
    if batch_size is not None:
        attack = replace(attack, batch_size=batch_size)
    data = data.to(device)
    result = attack.attack(
        model, as_float(data.images), data.labels, indices=data.indices, progress=progress
    )
    clean, robust = result.clean_correct.cpu(), result.correct.cpu()
    fooled_by = result.fooled_by.cpu()
    found = {name: int((fooled_by == code).sum()) for code, name in enumerate(FOOLED_BY)}
    return {
        "images": len(data),
        "clean_count": int(clean.sum()),
        "robust_count": int(robust.sum()),
        "clean_accuracy": percent(clean),
        "robust_accuracy": percent(robust),
        "steps_run": result.steps_run,
        "fragile": result.fragile,
        "fooled_by": {name: count for name, count in found.items() if count},
        "arrays": {
            "indices": data.indices.cpu().numpy(),
            "labels": data.labels.cpu().numpy(),
            "clean_correct": clean.numpy(),
            "robust_correct": robust.numpy(),
            "fooled_by": fooled_by.numpy(),
            "fooled_at_restart": result.fooled_at_restart.cpu().numpy(),
        },
    }
