"""TRADES (Zhang et al. 2019): clean cross-entropy plus the divergence under attack."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.attacks.mode import fixed_weights, upcast
from rewire.attacks.training import trades_attack
from rewire.objectives.accuracy import accuracy
from rewire.options import Epsilon, Positive, Steps, StepSize
from rewire.registry import OBJECTIVES


@OBJECTIVES.register("trades")
def trades(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    generator: torch.Generator,
    epsilon: Epsilon = 8 / 255,
    step_size: StepSize = 2 / 255,
    steps: Steps = 10,
    beta: Positive = 6.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """CE(f(x), y) + beta·Σ KL(p(x) ‖ p(x̃))/B (thesis, section 2).

    The clean and the adversarial batch are two forward passes, clean first, so BatchNorm sees each
    with its own statistics. Both arguments of the divergence carry gradients.

    Args:
        model: float images (B, C, H, W) in [0, 1] → logits (B, classes).
        x: clean images.
        y: int64 (B,).
        generator: source of the attack's start.
        epsilon: L-infinity radius in units of the [0, 1] pixel range.
        step_size: of the attack, same units.
        steps: of the attack.
        beta: weight of the divergence. The thesis prints 0.6; its accuracies fit 6.

    Returns:
        The loss, and the logs `loss`, `clean_loss`, `robust_loss` (the divergence without beta),
        `clean_accuracy` and `adversarial_accuracy`.
    """
    with fixed_weights(model):
        x_adv = trades_attack(
            model, x, epsilon=epsilon, step_size=step_size, steps=steps, generator=generator
        )
        logits = upcast(model(x))
        logits_adv = upcast(model(x_adv))
    clean = F.cross_entropy(logits, y)
    robust = F.kl_div(
        logits_adv.log_softmax(dim=1),
        logits.log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
    value = clean + beta * robust
    return value, {
        "loss": value.detach(),
        "clean_loss": clean.detach(),
        "robust_loss": robust.detach(),
        "clean_accuracy": accuracy(logits, y),
        "adversarial_accuracy": accuracy(logits_adv, y),
    }
