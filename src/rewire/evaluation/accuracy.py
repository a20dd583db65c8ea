"""Clean accuracy, per image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from rewire.attacks.judge import is_correct
from rewire.attacks.mode import attack_mode, full_float32


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


def counted(correct: int, total: int) -> dict[str, int | float]:
    """Counts and the percentage of correct images, as results store them."""
    return {"correct": correct, "total": total, "accuracy": 100 * correct / total}
