"""The training step that is timed: a bare PyTorch loop, and ordinary networks to compare with."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from rewire.attacks.mode import fixed_weights
from rewire.data.batches import TrainBatches
from rewire.data.embedded import load_embedded
from rewire.data.images import ImageSet
from rewire.models.factory import build_model
from rewire.models.layout import connection_budget, total_size
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.registry import MODELS, OBJECTIVES, STRATEGIES
from rewire.rng import generator
from rewire.training.module import SparseClassifier
from rewire.training.optimiser import DecoupledSGD, step_schedule
from rewire.training.replayed import Objective
from rewire.training.rewiring import Rewiring

SEED = 0
OPTIMISER = {"lr": 0.1, "momentum": 0.9, "decay": 5e-4}  # conf/trainer/thesis.yaml
SHAPE = {"classes": 10, "image_size": 32}


@functools.cache
def training_images() -> ImageSet:
    return load_embedded("train")


def training_batches(batch_size: int, device: torch.device) -> TrainBatches:
    """Batches as a training takes them: shuffled, augmented, on the device."""
    return TrainBatches(
        training_images(),
        batch_size=min(batch_size, len(training_images())),
        seed=SEED,
        augmentation="shift",
        device=device,
        channels_last=True,
    )


def endless(batches: TrainBatches) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch after the other."""
    while True:
        yield from batches


def sparse_network(*, width: float, sparsity: float, device: torch.device) -> SparseNetwork:
    return build_model("vgg11", width=width, sparsity=sparsity, seed=SEED, **SHAPE).to(device)


def dense_network(*, width: float, device: torch.device) -> nn.Module:
    """VGG11 of ordinary layers, channels last as PyTorch recommends for convolutions."""
    body = MODELS["vgg11"](width=width, **SHAPE)
    ordinary = nn.Sequential(*(_ordinary(module) for module in body))
    return ordinary.to(device, memory_format=torch.channels_last)


def _ordinary(module: nn.Module) -> nn.Module:
    if isinstance(module, SparseConv2d):
        outputs, kernel, _, inputs = module.storage_shape
        stride, padding = module.stride, module.padding
        return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
    if isinstance(module, SparseLinear):
        outputs, inputs = module.storage_shape
        return nn.Linear(inputs, outputs)
    return module


def classifier(model: SparseNetwork, objective: Objective, **passes: bool) -> SparseClassifier:
    """The module of a training, with its standard options; `passes`: compiled, replayed."""
    return SparseClassifier(
        model,
        objective=objective,
        lr=OPTIMISER["lr"],
        momentum=OPTIMISER["momentum"],
        weight_decay=OPTIMISER["decay"],
        seed=SEED,
        **passes,
    )


class BareLoop:
    """A training without Lightning, step by step: the same work in a dozen lines.

    The loop stands in for Lightning's trainer and module: all that the callback `Rewiring` reads of
    them is `global_step` and `model`.

    Args:
        model: a sparse network, or an ordinary one, which has no connectivity step.
        objective: name in `OBJECTIVES`; with its default options.
        precision: `bf16-mixed` or `32-true`.
        device: where the model is.
        batch_size: images per step.
        total_steps: length of the training as the learning-rate schedule sees it.
        strategy: rewiring strategy; None leaves the connectivity as it is.
        sparsity: of a sparse network.

    Attributes:
        growth: re-connections up to each connectivity step, from the start on.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        objective: str,
        precision: str,
        device: torch.device,
        batch_size: int,
        total_steps: int,
        strategy: str | None = None,
        sparsity: float = 0.0,
    ) -> None:
        self.model, self.device = model.train(), device
        self.loss = OBJECTIVES[objective]
        # Lightning casts without a cache; our networks cast their weights only once anyway.
        self.autocast = functools.partial(
            torch.autocast,
            device.type,
            torch.bfloat16,
            enabled=precision == "bf16-mixed",
            cache_enabled=not isinstance(model, SparseNetwork),
        )
        self.batches = endless(training_batches(batch_size, device))
        self.optimiser = DecoupledSGD(model.parameters(), **OPTIMISER)
        self.schedule = step_schedule(self.optimiser, total_steps=total_steps)
        self.global_step = 0
        self.growth: list[Tensor] = []
        self.rewiring = None
        if strategy is not None:
            self.rewiring = rewiring(model, strategy=strategy, sparsity=sparsity)
            self.rewiring.on_train_start(self, self)

    def step(self) -> None:
        """One whole step: batch, loss, gradient, update, connectivity."""
        self.gradient_step()
        if self.rewiring is not None:
            self.connectivity_step()

    def gradient_step(self) -> None:
        x, y = next(self.batches)
        random = generator(SEED, "objective", self.global_step, device=self.device)
        with self.autocast(), fixed_weights(self.model):
            loss, _ = self.loss(self.model, x, y, generator=random)
        self.optimiser.zero_grad()
        loss.backward()
        if self.rewiring is not None:
            self.rewiring.on_before_optimizer_step(self, self, self.optimiser)
        self.optimiser.step()
        self.schedule.step()
        self.global_step += 1

    def connectivity_step(self) -> None:
        self.rewiring.on_train_batch_end(self, self)
        self.growth.append(torch.as_tensor(self.rewiring.growth).sum())


def rewiring(model: SparseNetwork, *, strategy: str, sparsity: float) -> Rewiring:
    """The callback of a training, with its budget and its standard options."""
    budget = connection_budget(total_size(model.layers), sparsity)
    return Rewiring(strategy=STRATEGIES[strategy], budget=budget, seed=SEED)
