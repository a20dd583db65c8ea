"""Clean and robust accuracy of one model on one set of images (thesis, Table 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from rewire.attacks.autoattack import AutoAttack
from rewire.attacks.judge import FOOLED_BY
from rewire.attacks.pgd import PGD
from rewire.data.images import ImageSet, as_float
from rewire.errors import InputError
from rewire.evaluation.statistics import Accuracy


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What an attack left of a model's accuracy, image by image.

    Attributes:
        arrays: the per-image ledger: `indices` (int64), `labels` (int64), `clean_correct`,
            `robust_correct` (bool), `fooled_by` (int8) and `fooled_at_restart` (int16 or int32;
            both as in `AttackResult`).
        steps_run: of the attack, over all images.
        fooled_by: name of an attack → images that it fooled first, where there are any.
    """

    arrays: dict[str, np.ndarray]
    steps_run: int
    fooled_by: dict[str, int]

    @property
    def clean(self) -> Accuracy:
        return self._accuracy("clean_correct")

    @property
    def robust(self) -> Accuracy:
        return self._accuracy("robust_correct")

    def _accuracy(self, name: str) -> Accuracy:
        return Accuracy.counted(int(self.arrays[name].sum()), len(self.arrays[name]))


def evaluate(
    model: nn.Module,
    data: ImageSet,
    *,
    attack: PGD | AutoAttack,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluated:
    """Attack `model` on all of `data` and count, worst case per image.

    Args:
        model: classifier on `device`.
        data: images with labels and their positions in the official split.
        attack: the evaluation attack.
        batch_size: replaces the attack's batch size; it changes the speed, not the result.
        device: where to compute.
        progress: called with (images decided, images to decide).

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
    fooled_by = result.fooled_by.cpu()
    found = {name: int((fooled_by == code).sum()) for code, name in enumerate(FOOLED_BY)}
    return Evaluated(
        arrays={
            "indices": data.indices.cpu().numpy(),
            "labels": data.labels.cpu().numpy(),
            "clean_correct": result.clean_correct.cpu().numpy(),
            "robust_correct": result.correct.cpu().numpy(),
            "fooled_by": fooled_by.numpy(),
            "fooled_at_restart": result.fooled_at_restart.cpu().numpy(),
        },
        steps_run=result.steps_run,
        fooled_by={name: count for name, count in found.items() if count},
    )
