"""MART (Wang et al. 2020): misclassification-aware adversarial training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.attacks.mode import fixed_weights, upcast
from rewire.attacks.training import mart_attack
from rewire.objectives.accuracy import accuracy
from rewire.options import Epsilon, Positive, Steps, StepSize
from rewire.registry import OBJECTIVES


@OBJECTIVES.register("mart")
def mart(
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
    """BCE(x̃, y) + beta·Σ KL(p(x) ‖ p(x̃))·(1 − p_y(x))/B.

    BCE is −log p_y(x̃) − log(1 − max over k ≠ y of p_k(x̃)). The small constants that keep 1 − p
    above zero are those of the authors' code. Two forward passes, clean first.

    Args:
        model: float images (B, C, H, W) in [0, 1] → logits (B, classes), at least two classes.
        x: clean images.
        y: int64 (B,).
        generator: source of the attack's start.
        epsilon: L-infinity radius in units of the [0, 1] pixel range.
        step_size: of the attack, same units.
        steps: of the attack.
        beta: weight of the divergence.

    Returns:
        The loss, and the logs `loss`, `adversarial_loss` (BCE), `robust_loss` (the weighted
        divergence without beta), `clean_accuracy` and `adversarial_accuracy`.
    """
    with fixed_weights(model):
        x_adv = mart_attack(
            model, x, y, epsilon=epsilon, step_size=step_size, steps=steps, generator=generator
        )
        logits = upcast(model(x))
        logits_adv = upcast(model(x_adv))
    log_p, log_p_adv = logits.log_softmax(dim=1), logits_adv.log_softmax(dim=1)
    own = y[:, None]
    rival = log_p_adv.exp().scatter(1, own, 0).amax(dim=1)
    adversarial = F.nll_loss(log_p_adv, y) - (1.0001 - rival + 1e-12).log().mean()
    divergence = F.kl_div(log_p_adv, log_p, reduction="none", log_target=True).sum(dim=1)
    doubt = 1.0000001 - log_p.gather(1, own).squeeze(1).exp()
    robust = (divergence * doubt).mean()
    value = adversarial + beta * robust
    return value, {
        "loss": value.detach(),
        "adversarial_loss": adversarial.detach(),
        "robust_loss": robust.detach(),
        "clean_accuracy": accuracy(logits, y),
        "adversarial_accuracy": accuracy(logits_adv, y),
    }
