"""torchattacks: PGD and AutoAttack, kept from the global RNG and from the model's modes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor, nn

from rewire.attacks.checks import check_ball, check_real
from rewire.attacks.mode import attack_mode, full_float32
from rewire.errors import InputError, unknown_name

AUTOATTACK_VERSIONS = ("plus", "rand", "standard")


def torchattacks_pgd(
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
    """One run of torchattacks' L-infinity PGD: adversarial images (N, C, H, W).

    Raises:
        InputError: for a budget that is not positive, or if torchattacks is not installed.
    """
    check_ball(epsilon=epsilon, step_size=step_size, steps=steps)
    library = _torchattacks()
    with _isolated(model, x, seed=seed):
        attack = library.PGD(
            model, eps=epsilon, alpha=step_size, steps=steps, random_start=random_start
        )
        return attack(x, y).detach()


def autoattack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    seed: int,
    version: str = "standard",
) -> Tensor:
    """AutoAttack in the L-infinity ball (Croce and Hein 2020): adversarial images (N, C, H, W).

    Args:
        version: "standard" (APGD-CE, APGD-T, FAB-T, Square; needs at least four classes), "plus"
            or "rand" (for models with random parts).

    Raises:
        InputError: for another version, an epsilon outside (0, 1], or without torchattacks.
    """
    check_real("epsilon", epsilon, above=0, at_most=1)
    if version not in AUTOATTACK_VERSIONS:
        raise unknown_name("version of AutoAttack", version, AUTOATTACK_VERSIONS)
    library = _torchattacks()
    with _isolated(model, x, seed=seed):
        with torch.no_grad():
            classes = model(x[:1]).shape[1]
        attack = library.AutoAttack(
            model, norm="Linf", eps=epsilon, version=version, n_classes=classes, seed=seed
        )
        return attack(x, y).detach()


@contextmanager
def _isolated(model: nn.Module, x: Tensor, *, seed: int) -> Iterator[None]:
    """Evaluation mode, float32, and a global RNG seeded for the library and given back unchanged.

    torchattacks sets the whole model to training mode when it restores a model that it found in
    training mode; here it finds evaluation mode only.
    """
    devices = [x.device] if x.is_cuda else []
    with full_float32(x.device), attack_mode(model), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _torchattacks() -> ModuleType:
    try:
        import torchattacks
    except ImportError as error:
        raise InputError(
            "the package 'torchattacks' is not installed. It comes with the extra "
            "'rewire[attacks]': pip install 'rewire[attacks]'."
        ) from error
    return torchattacks
