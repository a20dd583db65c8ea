"""Mixed-batch adversarial training: half of every batch attacked, half clean."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.attacks.mode import fixed_weights, upcast
from rewire.attacks.training import pgd_train
from rewire.errors import InputError
from rewire.objectives.accuracy import accuracy
from rewire.options import Epsilon, Steps, StepSize
from rewire.registry import OBJECTIVES


@OBJECTIVES.register("mat")
def mat(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    generator: torch.Generator,
    epsilon: Epsilon = 8 / 255,
    step_size: StepSize = 2 / 255,
    steps: Steps = 10,
) -> tuple[Tensor, dict[str, Tensor]]:
    """CE over a batch whose first ⌊B/2⌋ images are attacked, in one forward pass (the reference).

    Args:
        model: float images (B, C, H, W) in [0, 1] → logits (B, classes).
        x: clean images, at least two.
        y: int64 (B,).
        generator: source of the attack's start.
        epsilon: L-infinity radius in units of the [0, 1] pixel range.
        step_size: of the attack, same units.
        steps: of the attack.

    Returns:
        The loss, and the logs `loss`, `clean_accuracy` and `adversarial_accuracy`, each accuracy
        over its part of the batch.

    Raises:
        InputError: for a batch of fewer than two images.
    """
    if len(x) < 2:
        raise InputError(f"objective 'mat' got a batch of {len(x)} images. Allowed: 2 or more.")
    half = len(x) // 2
    with fixed_weights(model):
        x_adv = pgd_train(
            model,
            x[:half],
            y[:half],
            epsilon=epsilon,
            step_size=step_size,
            steps=steps,
            generator=generator,
        )
        logits = upcast(model(torch.cat([x_adv, x[half:]])))
    value = F.cross_entropy(logits, y)
    return value, {
        "loss": value.detach(),
        "clean_accuracy": accuracy(logits[half:], y[half:]),
        "adversarial_accuracy": accuracy(logits[:half], y[:half]),
    }
