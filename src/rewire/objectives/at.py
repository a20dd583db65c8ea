"""Adversarial training (Madry et al. 2018): cross-entropy on attacked images only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.attacks.mode import fixed_weights, upcast
from rewire.attacks.training import pgd_train
from rewire.objectives.accuracy import accuracy
from rewire.options import Epsilon, Steps, StepSize
from rewire.registry import OBJECTIVES


@OBJECTIVES.register("at")
def at(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    generator: torch.Generator,
    epsilon: Epsilon = 8 / 255,
    step_size: StepSize = 2 / 255,
    steps: Steps = 10,
) -> tuple[Tensor, dict[str, Tensor]]:
    """CE(f(x̃), y), x̃ from PGD with a uniform start (the reference's standard AT).

    Args:
        model: float images (B, C, H, W) in [0, 1] → logits (B, classes).
        x: clean images.
        y: int64 (B,).
        generator: source of the attack's start.
        epsilon: L-infinity radius in units of the [0, 1] pixel range.
        step_size: of the attack, same units.
        steps: of the attack.

    Returns:
        The loss, and the logs `loss` and `adversarial_accuracy`; there is no clean forward pass.
    """
    with fixed_weights(model):
        x_adv = pgd_train(
            model, x, y, epsilon=epsilon, step_size=step_size, steps=steps, generator=generator
        )
        logits = upcast(model(x_adv))
    value = F.cross_entropy(logits, y)
    return value, {"loss": value.detach(), "adversarial_accuracy": accuracy(logits, y)}
