"""foolbox: the LinfPGD with which the reference measures robust accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor, nn

from rewire.attacks.checks import check_ball
from rewire.attacks.mode import attack_mode, full_float32
from rewire.errors import InputError


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
    """One run of foolbox's L-infinity PGD: adversarial images (N, C, H, W).

    The global RNG, from which foolbox draws its start, is given back unchanged.

    Raises:
        InputError: for a budget that is not positive, or if foolbox is not installed.
    """
    check_ball(epsilon=epsilon, step_size=step_size, steps=steps)
    library = _foolbox()
    devices = [x.device] if x.is_cuda else []
    with full_float32(x.device), attack_mode(model), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        wrapped = library.PyTorchModel(model, bounds=(0, 1), device=x.device)
        attack = library.attacks.LinfPGD(
            abs_stepsize=step_size, steps=steps, random_start=random_start
        )
        with _constant_parameters(model):
            _, clipped, _ = attack(wrapped, x, y, epsilons=epsilon)
    return clipped.detach()


@contextmanager
def _constant_parameters(model: nn.Module) -> Iterator[None]:
    """foolbox calls `backward`, which would add to the `.grad` of every trainable parameter."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def _foolbox() -> ModuleType:
    try:
        import foolbox
    except ImportError as error:
        raise InputError(
            "the package 'foolbox' is not installed. It comes with the extra 'rewire[attacks]': "
            "pip install 'rewire[attacks]'."
        ) from error
    return foolbox
