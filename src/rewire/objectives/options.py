"""Defaults, checks and small parts that the objectives share."""

from __future__ import annotations

import torch
from torch import Tensor

from rewire.attacks.checks import check_ball, check_real

# The reference's budget of training attacks (thesis, section 2).
EPSILON = 8 / 255
STEP_SIZE = 2 / 255
STEPS = 10
BETA = 6.0


def check_options(
    *,
    epsilon: float = EPSILON,
    step_size: float = STEP_SIZE,
    steps: int = STEPS,
    beta: float = BETA,
) -> None:
    """Refuse option values that no objective can use.

    Raises:
        InputError: unless 0 < epsilon <= 1, step_size > 0, steps >= 1 and beta > 0.
    """
    check_ball(epsilon=epsilon, step_size=step_size, steps=steps)
    check_real("beta", beta, above=0)


@torch.no_grad()
def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """Share of correct predictions of a batch in %, a scalar on its device."""
    return 100 * (logits.argmax(dim=1) == y).float().mean()
