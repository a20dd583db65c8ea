"""Clean accuracy, per image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rewire.attacks.judge import is_correct
from rewire.attacks.mode import attack_mode, full_float32
from rewire.evaluation.statistics import wilson_interval


@torch.no_grad()
def predict_correct(model: nn.Module, batches: Iterable[Sequence[Tensor]]) -> Tensor:
    """Which images the model classifies correctly.

    Runs in evaluation mode and full float32; the modes of all modules are restored.

    Args:
        model: float images (B, C, H, W) in [0, 1] → logits (B, classes).
        batches: sequences (x, y, ...) on the model's device; entries after the first two are
            ignored.

    Returns:
        bool (N,) on the CPU, in the order of the batches. Logits that are not finite are wrong.
    """
    correct = [torch.empty(0, dtype=torch.bool)]
    for x, y, *_ in batches:
        with full_float32(x.device), attack_mode(model):
            correct.append(is_correct(model(x), y).cpu())
    return torch.cat(correct)


def percent(correct: Tensor) -> float:
    """100 times the share of True in a bool vector, from the integer count; at least one entry."""
    assert len(correct), "an accuracy needs at least one image"
    return 100 * int(correct.sum()) / len(correct)


def is_at_chance(correct: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a network may know no more than an answer that is always the same.

    Its accuracy then is the share of that class at most, as far as so many images can tell: the
    lower end of the 95 % Wilson interval is not above the share of the most frequent class.

    Args:
        correct: bool (N,), of clean images; N >= 1.
        labels: int (N,), theirs.
    """
    low, _ = wilson_interval(int(np.sum(correct)), len(correct))
    return low <= np.unique(labels, return_counts=True)[1].max() / len(labels)
