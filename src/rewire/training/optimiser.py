"""The reference's optimiser: momentum SGD with weight decay that does not pass through it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from rewire.errors import InputError


def check_options(*, lr: float, momentum: float, weight_decay: float) -> None:
    """Refuse values that `DecoupledSGD` cannot use, with an `InputError`."""
    if not lr > 0:
        raise InputError(f"trainer.lr is {lr}. Allowed: above 0, e.g. 0.1.")
    if not 0 <= momentum < 1:
        raise InputError(f"trainer.momentum is {momentum}. Allowed: 0 to below 1.")
    if not 0 <= weight_decay < 1:
        raise InputError(f"trainer.weight_decay is {weight_decay}. Allowed: 0 to below 1.")


class DecoupledSGD(torch.optim.SGD):
    """var ← (1 − decay)·var, then the momentum step; `decay` follows the learning-rate schedule.

    The decay is *not* multiplied by the learning rate and applies to every trainable variable,
    dormant θ included (thesis, section 2). Coupled L2 would enter the momentum of dormant θ and
    silently re-connect them.

    Args:
        lr: initial learning rate.
        decay: share of each variable removed per step at the initial learning rate.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, momentum: float, decay: float
    ) -> None:
        check_options(lr=lr, momentum=momentum, weight_decay=decay)
        super().__init__(params, lr=lr, momentum=momentum, fused=True)
        self.initial_lr, self.decay = lr, decay

    @torch.no_grad()
    def step(self, closure=None):
        # Lightning hands the forward and backward pass over as the closure.
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            keep = 1 - self.decay * group["lr"] / self.initial_lr
            torch._foreach_mul_([p for p in group["params"] if p.grad is not None], keep)
        super().step()
        return loss


def step_schedule(optimiser: torch.optim.Optimizer, *, total_steps: int) -> LambdaLR:
    """Factors 1, .1, .01 with drops at 50 % and 75 % of the iterations (thesis, section 2)."""

    def factor(step: int) -> float:
        return 1.0 if step < 0.5 * total_steps else 0.1 if step < 0.75 * total_steps else 0.01

    return LambdaLR(optimiser, factor)
