"""pyautoattack, the authors' packaging: the four attacks of AutoAttack, reproducible per image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rewire.attacks.image_noise import image_noise
from rewire.attacks.mode import library_call
from rewire.errors import missing_package
from rewire.rng import generator


@dataclass(frozen=True)
class Component:
    """One attack of AutoAttack, for the attacks with targets against one target class.

    Attributes:
        name: "apgd-ce", "apgd-t", "fab-t" or "square".
        target: rank of the target class by its clean logit (2 = runner-up), 0 without a target.
        search: (x, y, restart) → adversarial images, drawing from the global RNG.
    """

    name: str
    target: int
    search: Callable[[Tensor, Tensor, int], Tensor]

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, indices: Tensor, seed: int, restart: int
    ) -> Tensor:
        """Adversarial images (B, C, H, W) for `x`, which `model` classifies correctly.

        What is drawn for an image is a function of (seed, its index, this attack, restart).
        """
        keys = [(index, self.target, restart) for index in indices.tolist()]
        noise = _ImageNoise(seed=seed, name=self.name, keys=keys, shared=(self.target, restart))
        with library_call(model, x.device, seed=seed), torch.no_grad(), noise:
            return self.search(x, y, restart).detach()


def autoattack_components(
    model: nn.Module, *, epsilon: float, steps: int, queries: int, classes: int
) -> list[Component]:
    """The attacks of AutoAttack "standard" (Croce and Hein 2020) in the order of the paper.

    Args:
        epsilon: L-infinity radius in (0, 1].
        steps: of APGD and FAB; the paper's 100.
        queries: of the Square attack; the paper's 5,000.
        classes: number of logits, at least 4; each but the label's is a target of APGD-T and
            FAB-T, at most nine.

    Raises:
        InputError: if pyautoattack is not installed.
    """
    try:
        from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
        from pyautoattack.fab_pt import FABAttack_PT
        from pyautoattack.square import SquareAttack
    except ImportError as error:
        raise missing_package("pyautoattack", extra="attacks") from error
    ce = APGDAttack(model, n_iter=steps, eps=epsilon)
    apgd = APGDAttack_targeted(model, n_iter=steps, eps=epsilon)
    fab = FABAttack_PT(model, n_iter=steps, eps=epsilon)
    # As the published chain has it, the squares shrink with the number of queries alone.
    square = SquareAttack(model, n_queries=queries, eps=epsilon, resc_schedule=False)

    def apgd_search(x: Tensor, y: Tensor, _: int) -> Tensor:
        ce.init_hyperparam(x)
        return ce.attack_single_run(x, y)[3]

    def apgd_targeted(target: int, x: Tensor, y: Tensor, _: int) -> Tensor:
        apgd.init_hyperparam(x)
        apgd.y_target = model(x).sort(dim=1)[1][:, -target]
        return apgd.attack_single_run(x, y)[3]

    def fab_targeted(target: int, x: Tensor, y: Tensor, restart: int) -> Tensor:
        fab.target_class = target
        return fab.attack_single_run(x, y, use_rand_start=restart > 0, is_targeted=True)

    def random_search(x: Tensor, y: Tensor, _: int) -> Tensor:
        square.init_hyperparam(x)
        return square.attack_single_run(x, y)[1]

    targets = range(2, min(classes, 10) + 1)
    return [
        Component("apgd-ce", 0, apgd_search),
        *(Component("apgd-t", rank, partial(apgd_targeted, rank)) for rank in targets),
        *(Component("fab-t", rank, partial(fab_targeted, rank)) for rank in targets),
        Component("square", 0, random_search),
    ]


class _ImageNoise(TorchFunctionMode):
    """`torch.rand` of a batch of images gives each its own noise; of anything else, shared noise.

    The library draws its starts for a whole batch, so that an image's start would depend on the
    images beside it. Shared are the positions and sizes of Square's squares.
    """

    def __init__(
        self, *, seed: int, name: str, keys: Sequence[tuple[int, ...]], shared: tuple[int, int]
    ) -> None:
        super().__init__()
        self.seed, self.name, self.keys = seed, name, keys
        self.shared = generator(seed, f"{name} schedule", *shared)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.rand:
            return func(*args, **(kwargs or {}))
        (shape,) = args
        if len(shape) == 4 and shape[0] == len(self.keys):
            return image_noise(shape[1:], seed=self.seed, purpose=self.name, keys=self.keys)
        return func(shape, generator=self.shared)
