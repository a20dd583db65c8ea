"""foolbox: the LinfPGD with which the reference measures robust accuracy."""

from __future__ import annotations

import foolbox
from torch import Tensor, nn

from rewire.attacks.mode import library_call


def foolbox_pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    seed: int,
    random_start: bool = True,
) -> Tensor:
    """One run of foolbox's L-infinity PGD: adversarial images (N, C, H, W)."""
    with library_call(model, x.device, seed=seed):
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
        attack = foolbox.attacks.LinfPGD(
            abs_stepsize=step_size, steps=steps, random_start=random_start
        )
        _, clipped, _ = attack(wrapped, x, y, epsilons=epsilon)
    return clipped.detach()
