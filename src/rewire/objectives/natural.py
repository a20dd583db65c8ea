"""Natural training: cross-entropy on clean images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.attacks.mode import upcast
from rewire.objectives.accuracy import accuracy
from rewire.registry import OBJECTIVES


@OBJECTIVES.register("natural")
def natural(
    model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """CE(f(x), y); `generator` is not used.

    Args:
        model: float images (B, C, H, W) in [0, 1] → logits (B, classes).
        x: images.
        y: int64 (B,).
        generator: part of the common signature.

    Returns:
        Mean loss over the batch, and the logs `loss` and `clean_accuracy`.
    """
    logits = upcast(model(x))
    value = F.cross_entropy(logits, y)
    return value, {"loss": value.detach(), "clean_accuracy": accuracy(logits, y)}
