"""Adversarial training (Madry et al. 2018): cross-entropy on attacked images only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.attacks.mode import fixed_weights, upcast
from rewire.attacks.training import pgd_train
from rewire.objectives.options import EPSILON, STEP_SIZE, STEPS, accuracy, check_options


def loss(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    generator: torch.Generator,
    epsilon: float = EPSILON,
    step_size: float = STEP_SIZE,
    steps: int = STEPS,
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

    Raises:
        InputError: for an option that is not positive.
    """
    check_options(epsilon=epsilon, step_size=step_size, steps=steps)
    with fixed_weights(model):
        x_adv = pgd_train(
            model, x, y, epsilon=epsilon, step_size=step_size, steps=steps, generator=generator
        )
        logits = upcast(model(x_adv))
    value = F.cross_entropy(logits, y)
    return value, {"loss": value.detach(), "adversarial_accuracy": accuracy(logits, y)}
