"""torchattacks: PGD and AutoAttack, kept from the global RNG and from the model's modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rewire.attacks.checks import check_ball, check_real
from rewire.attacks.image_noise import image_noise
from rewire.attacks.mode import attack_mode, full_float32
from rewire.errors import InputError, unknown_name
from rewire.rng import generator

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
    """The library's own AutoAttack in the L-infinity ball: adversarial images (N, C, H, W).

    Its APGD and FAB take 10 steps where the published attack takes 100, and nothing says which
    attack fooled an image: it serves as the independent run beside `autoattack_components`.

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
        with _isolated(model, x, seed=seed), torch.no_grad(), noise:
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
        InputError: if torchattacks is not installed.
    """
    library = _torchattacks()
    budget = {"norm": "Linf", "eps": epsilon}
    ce = library.APGD(model, steps=steps, loss="ce", **budget)
    apgd = library.APGDT(model, steps=steps, n_classes=classes, **budget)
    fab = library.FAB(model, steps=steps, n_classes=classes, multi_targeted=True, **budget)
    square = library.Square(model, n_queries=queries, **budget)

    def apgd_targeted(target: int, x: Tensor, y: Tensor) -> Tensor:
        apgd.target_class = target
        return apgd.attack_single_run(x, y)[3]

    def fab_targeted(target: int, x: Tensor, y: Tensor, restart: int) -> Tensor:
        fab.target_class = target
        return fab.attack_single_run_targeted(x, y, use_rand_start=restart > 0)

    def random_search(x: Tensor, y: Tensor) -> Tensor:
        square.init_hyperparam(x)
        return square.attack_single_run(x, y)[1]

    targets = range(2, min(classes, 10) + 1)
    return [
        Component("apgd-ce", 0, lambda x, y, _: ce.attack_single_run(x, y)[3]),
        *(Component("apgd-t", t, lambda x, y, _, t=t: apgd_targeted(t, x, y)) for t in targets),
        *(Component("fab-t", t, lambda x, y, r, t=t: fab_targeted(t, x, y, r)) for t in targets),
        Component("square", 0, lambda x, y, _: random_search(x, y)),
    ]


class _ImageNoise(TorchFunctionMode):
    """`torch.rand` of a batch of images gives each its own noise; of anything else, shared noise.

    The library draws its starts for a whole batch, so that an image's start would depend on the
    images beside it. Shared are the positions and sizes of Square's squares.
    """

    def __init__(self, *, seed: int, name: str, keys: Sequence[tuple[int, ...]], shared) -> None:
        super().__init__()
        self.seed, self.name, self.keys = seed, name, keys
        self.shared = generator(seed, f"{name} schedule", *shared)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not torch.rand:
            return func(*args, **(kwargs or {}))
        (shape,) = args
        if len(shape) == 4 and shape[0] == len(self.keys):
            return image_noise(shape[1:], seed=self.seed, purpose=self.name, keys=self.keys)
        return func(shape, generator=self.shared)


@contextmanager
def _isolated(model: nn.Module, x: Tensor, *, seed: int) -> Iterator[None]:
    """Evaluation mode, float32, and a global RNG seeded for the library and given back unchanged.

    torchattacks sets the whole model to training mode when it restores a model that it found in
    training mode; here it finds evaluation mode only. Its FAB calls `backward`, which would add to
    the `.grad` of every trainable parameter.
    """
    devices = [x.device] if x.is_cuda else []
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with full_float32(x.device), attack_mode(model), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for parameter in trainable:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in trainable:
                parameter.requires_grad_(True)


def _torchattacks() -> ModuleType:
    try:
        import torchattacks
    except ImportError as error:
        raise InputError(
            "the package 'torchattacks' is not installed. It comes with the extra "
            "'rewire[attacks]': pip install 'rewire[attacks]'."
        ) from error
    return torchattacks
