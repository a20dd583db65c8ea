"""Attacks are judged outside the attack: re-clipped, run again, counted per image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rewire.attacks.checks import check_count
from rewire.attacks.mode import attack_mode, full_float32


def linf_project(x_adv: Tensor, x: Tensor, epsilon: float) -> Tensor:
    """`x_adv` clipped to the L-infinity ball of radius `epsilon` around `x`, then to [0, 1]."""
    return x_adv.clamp(x - epsilon, x + epsilon).clamp(0, 1)


def is_correct(logits: Tensor, y: Tensor) -> Tensor:
    """(B,) bool: the largest logit is the label's and all logits are finite."""
    return (logits.argmax(dim=1) == y) & logits.isfinite().all(dim=1)


@torch.no_grad()
def predict_logits(model: nn.Module, x: Tensor, *, batch_size: int) -> Tensor:
    """Logits (N, classes) of `x` (N, C, H, W), in evaluation mode and full float32."""
    check_count("batch_size", batch_size)
    with full_float32(x.device), attack_mode(model):
        # An empty set is one empty batch, which gives logits of the right width.
        return torch.cat([model(part) for part in x.split(batch_size)])


def judge(
    model: nn.Module, x_adv: Tensor, x: Tensor, y: Tensor, *, epsilon: float, batch_size: int
) -> Tensor:
    """Which adversarial images the model still classifies correctly.

    Args:
        x_adv: what an attack returned, (N, C, H, W); clipped here to the ball and to [0, 1], so
            that no attack gains from leaving them.
        x: clean images in [0, 1], same shape.
        y: labels, int64 (N,).
        epsilon: L-infinity radius.
        batch_size: images per forward pass.

    Returns:
        bool (N,).
    """
    logits = predict_logits(model, linf_project(x_adv, x, epsilon), batch_size=batch_size)
    return is_correct(logits, y)
