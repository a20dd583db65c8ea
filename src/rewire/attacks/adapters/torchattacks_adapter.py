"""torchattacks: an independent PGD, beside which ours is tested and timed."""

from __future__ import annotations

from torch import Tensor, nn

from rewire.attacks.checks import check_ball
from rewire.attacks.mode import library_call
from rewire.errors import missing_package


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
    try:
        import torchattacks
    except ImportError as error:
        raise missing_package("torchattacks", extra="attacks") from error
    with library_call(model, x.device, seed=seed):
        attack = torchattacks.PGD(
            model, eps=epsilon, alpha=step_size, steps=steps, random_start=random_start
        )
        return attack(x, y).detach()
