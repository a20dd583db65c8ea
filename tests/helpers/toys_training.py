"""A small sparse network, its data, and Lightning trainings of it that take a moment."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rewire.models.layout import total_size
from rewire.models.norm import BatchNorm2d
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.registry import OBJECTIVES, STRATEGIES
from rewire.rng import generator
from rewire.tracking import NullTracker
from rewire.training.history import History
from rewire.training.module import SparseClassifier
from rewire.training.replayed import Objective
from rewire.training.rewiring import Rewiring

CLASSES, SIZE, BATCH, SEED = 5, 8, 12, 7
LR, MOMENTUM, DECAY = 0.1, 0.9, 5e-4
Batch = tuple[Tensor, Tensor]


def body() -> nn.Sequential:
    """3 → 4 → 6 channels and a dense layer, on 8×8 images: 108 + 216 + 480 weights."""
    return nn.Sequential(
        SparseConv2d(3, 4, 3, padding=1),
        BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        SparseConv2d(4, 6, 3, padding=1),
        BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        SparseLinear(6 * 16, CLASSES),
    )


def network(*, dtype: torch.dtype = torch.float32, p_init: float = 0.1) -> SparseNetwork:
    return SparseNetwork(body(), p_init=[p_init] * 3, generator=generator(SEED, "test")).to(dtype)


def batches(count: int, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Batch]:
    random = generator(seed, "test batches")
    return [
        (
            torch.rand(BATCH, 3, SIZE, SIZE, generator=random, dtype=dtype),
            torch.randint(CLASSES, (BATCH,), generator=random),
        )
        for _ in range(count)
    ]


def steps(
    objective: Objective, model: SparseNetwork, data: Sequence[Batch], *, precision: str = "float32"
) -> list[dict[str, Tensor]]:
    """What steps of gradient descent give, where the model is: logs, gradients, buffers."""
    found, device = [], model.theta.device
    for number, (x, y) in enumerate(data):
        random = generator(SEED, "objective", number, device=device)
        model.zero_grad()
        # As in a recording every pass casts for itself: shared, a cast sums its gradients in bf16.
        reduced = precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=reduced, cache_enabled=False):
            loss, logs = objective(model, x.to(device), y.to(device), generator=random)
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        found.append({"total": loss.detach(), **logs, **gradients, **buffers})
        with torch.no_grad():  # the places stay, the values change
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad
    return found


def loader(data: Sequence[Batch]) -> DataLoader:
    """The batches as they are: Lightning would take a plain list as several loaders."""
    return DataLoader(list(data), batch_size=None, shuffle=False)


class Recorder(NullTracker):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict]] = []

    def log(self, metrics, *, step):
        self.logged.append((step, dict(metrics)))


class Snapshots(pl.Callback):
    """θ before each step, after its gradient step and after its rewiring, and what was reported.

    Placed twice, before and after the rewiring callback, by `fit`.
    """

    def __init__(self) -> None:
        self.before: list[Tensor] = []
        self.after: list[Tensor] = []
        self.last: list = []
        self.losses: list[float] = []
        self.lrs: list[float] = []

    def on_train_batch_start(self, trainer, module, *args):
        self.before.append(module.model.theta.detach().clone())

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.lrs.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, module, *args):
        self.after.append(module.model.theta.detach().clone())
        self.losses.append(float(module.latest["loss"]))
        rewiring = next(c for c in trainer.callbacks if isinstance(c, Rewiring))
        self.last.append(rewiring.last)


@dataclass
class Fitted:
    model: SparseNetwork
    rewiring: Rewiring
    history: History
    tracker: Recorder
    gradient: Snapshots  # `after` is θ between the gradient step and the rewiring
    whole: Snapshots  # `after` is θ after the rewiring
    lines: list[str]
    initial: dict[str, Tensor]


def fit(
    model: SparseNetwork,
    data: Sequence[Batch],
    *,
    epochs: int = 1,
    strategy: str = "random",
    objective: str = "natural",
    options: dict | None = None,
    density: float = 0.15,
    validation: Sequence[Batch] | None = None,
    log_every: int = 1,
) -> Fitted:
    """Train `model` in place with Lightning on the CPU, with the rewiring callback."""
    budget = int(density * total_size(model.layers))
    module = SparseClassifier(
        model,
        objective=OBJECTIVES.build(objective, **(options or {})),
        lr=LR,
        momentum=MOMENTUM,
        weight_decay=DECAY,
        seed=SEED,
    )
    rewiring = Rewiring(strategy=STRATEGIES.build(strategy), budget=budget, seed=SEED)
    tracker, lines = Recorder(), []
    history = History(rewiring, tracker=tracker, log_every=log_every, report=lines.append)
    gradient, whole = Snapshots(), Snapshots()
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=epochs,
            callbacks=[gradient, rewiring, whole, history],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, loader(data), loader(validation) if validation else None)
    return Fitted(model, rewiring, history, tracker, gradient, whole, lines, initial)
