"""Gradient attacks of a fixed length: the ascent in the L-infinity ball and its training forms.

Nothing here waits for the device, so a training step stays asynchronous. Randomness comes from an
explicit generator; draws happen on the generator's own device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.attacks.judge import linf_project
from rewire.attacks.mode import attack_mode, upcast


def pgd_linf(
    loss: Callable[[Tensor], Tensor],
    x: Tensor,
    start: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
) -> Tensor:
    """Ascend the sign of a loss's gradient, projected after every step, without early exit.

    Args:
        loss: images (B, C, H, W) → scalar; a sum over images, so that no image's step depends on
            how many others share its batch.
        x: clean images, the centre of the ball.
        start: first iterate; it may lie outside the ball, as it is projected after the first step.
        epsilon: L-infinity radius, in units of the [0, 1] pixel range.
        step_size: length of a step per pixel, same units.
        steps: number of gradient steps.

    Returns:
        The last iterate, detached, (B, C, H, W).
    """
    x_adv = start.detach()
    for _ in range(steps):
        with torch.enable_grad():
            x_adv.requires_grad_()
            (gradient,) = torch.autograd.grad(loss(x_adv), x_adv)
        x_adv = linf_project(x_adv.detach() + step_size * gradient.sign(), x, epsilon)
    return x_adv


def summed_cross_entropy(model: nn.Module, y: Tensor) -> Callable[[Tensor], Tensor]:
    """The loss x ↦ Σ CE(model(x), y), for `pgd_linf`."""
    return lambda x: F.cross_entropy(upcast(model(x)), y, reduction="sum")


def pgd_train(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """The reference's attack of adversarial training: uniform start, cross-entropy, fixed steps.

    Never waits for the device. Returns adversarial images (B, C, H, W) in [0, 1].
    """
    noise = torch.rand(x.shape, generator=generator, device=generator.device).to(x) * 2 - 1
    start = linf_project(x + epsilon * noise, x, epsilon)
    return _ascend_cross_entropy(
        model, x, y, start, epsilon=epsilon, step_size=step_size, steps=steps
    )


def mart_attack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """The attack of MART (Wang et al. 2020): `pgd_train` from `normal_start`."""
    start = normal_start(x, generator=generator)
    return _ascend_cross_entropy(
        model, x, y, start, epsilon=epsilon, step_size=step_size, steps=steps
    )


def _ascend_cross_entropy(model, x, y, start, **budget) -> Tensor:
    with attack_mode(model):
        return pgd_linf(summed_cross_entropy(model, y), x, start, **budget)


def trades_attack(
    model: nn.Module,
    x: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """The attack of TRADES: ascend Σ KL(p(x) ‖ p(x̃)) from `normal_start` (thesis, section 2).

    BatchNorm runs in evaluation mode and the clean logits are computed once. Never waits for the
    device. Returns adversarial images (B, C, H, W) in [0, 1].
    """
    start = normal_start(x, generator=generator)
    with attack_mode(model):
        with torch.no_grad():
            clean = upcast(model(x)).log_softmax(dim=1)

        def divergence(x_adv: Tensor) -> Tensor:
            log_p = upcast(model(x_adv)).log_softmax(dim=1)
            return F.kl_div(log_p, clean, reduction="sum", log_target=True)

        return pgd_linf(divergence, x, start, epsilon=epsilon, step_size=step_size, steps=steps)


def normal_start(x: Tensor, *, generator: torch.Generator) -> Tensor:
    """x + 0.001·N(0, 1), not clipped: where TRADES and MART start."""
    noise = torch.randn(x.shape, generator=generator, device=generator.device).to(x)
    return x + 0.001 * noise
