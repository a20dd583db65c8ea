"""One training of the article, from its typed configuration."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rewire.data.batches import EvalBatches, TrainBatches
from rewire.data.load import load_images
from rewire.evaluation.accuracy import percent, predict_correct
from rewire.evaluation.statistics import Accuracy
from rewire.models.dense import DenseNetwork, build_dense
from rewire.progress import time_left
from rewire.registry import HEADS
from rewire.tracking import Tracker
from rewire.training.dense_module import DenseClassifier
from rewire.training.device import choose_device, choose_precision, use_threads
from rewire.training.finite import Finite
from rewire.training.lean import pl
from rewire.training.lightning import fit
from rewire.training.metrics import DenseMetrics, Row
from rewire.training.settings import DenseTraining

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class TrainedDense:
    """Result of a training: the network after the last step and its numbers."""

    model: DenseNetwork
    metrics: DenseMetrics
    history: list[Row]


def train_dense(
    config: DenseTraining,
    *,
    state_of: Mapping[str, Any],
    checkpoints: Path,
    tracker: Tracker,
    report: Callable[[str], None],
) -> TrainedDense:
    """Train one network to the end, going on from the last checkpoint if there is one.

    Args:
        config: what is asked for.
        state_of: plain values that a state must be of to go on from it: the configuration, and as
            `code` (file → hash) the code behind it.
        checkpoints: folder for the state; belongs to this configuration alone.
        tracker: receives curves.
        report: called with one line of text every `trainer.log_every` steps.
    """
    settings, seed = config.trainer, config.seed
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    use_threads(settings.threads)
    # L2 inside Adam shrinks weights without data gradient for ever; denormal numbers are slow.
    torch.set_flush_denormal(True)
    model = build_dense(**config.network.model_dump(), seed=seed)
    options = config.head.options
    l2 = options.pop("l2")
    module = DenseClassifier(
        model,
        loss=HEADS.build(config.head.name, **options),
        l2=l2,
        phases=settings.phases,
        seed=seed,
    )
    training, validation, test = load_images(config.data)
    batches = TrainBatches(
        training,
        batch_size=settings.batch_size,
        seed=seed,
        augmentation=config.data.augmentation,
        device=device,
    )
    held_out, judged = (
        EvalBatches(images, batch_size=EVALUATION_BATCH, device=device)
        for images in (validation, test)
    )
    progress = Progress(held_out, tracker=tracker, every=settings.log_every, report=report)
    finite = Finite(
        every=math.gcd(settings.log_every, settings.checkpoint_every),
        weights=lambda model: model.parameters(),
        remedy="a smaller learning rate in trainer.phases",
    )
    steps = sum(steps for _, steps in settings.phases)
    fit(
        module,
        batches,
        callbacks=[finite, progress],
        device=device,
        precision=precision,
        checkpoints=checkpoints,
        state_of=state_of,
        every_steps=settings.checkpoint_every,
        max_steps=steps,
    )
    model.to(device).eval()
    accuracies = {}
    for name, images in (("clean", judged), ("validation", held_out)):
        if len(images):
            correct = predict_correct(model, images)
            accuracies[name] = Accuracy.counted(int(correct.sum()), len(correct))
    metrics = DenseMetrics(**accuracies, steps=steps, selection="last step", precision=precision)
    return TrainedDense(model.cpu(), metrics, progress.rows)


class Progress(pl.Callback):
    """One row of numbers every `every` steps: mean loss since the last row, held-out accuracy.

    Rows are made before checkpoints are written, so that a resumed run repeats none and misses
    none.
    """

    def __init__(
        self, held_out: EvalBatches, *, tracker: Tracker, every: int, report: Callable[[str], None]
    ) -> None:
        self.held_out, self.tracker, self.every, self.report = held_out, tracker, every, report
        self.rows: list[Row] = []
        self._losses: list[torch.Tensor] = []
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, module: DenseClassifier, *args: Any) -> None:
        self._losses.append(module.latest["loss"])
        step = trainer.global_step
        if step % self.every and step != trainer.max_steps:
            return
        loss = float(torch.stack(self._losses).double().mean())
        row: Row = {"step": step, "train_loss": round(loss, 8)}
        if len(self.held_out):
            correct = predict_correct(module.model, self.held_out)
            row["validation_accuracy"] = round(percent(correct), 6)
        self.rows.append(row)
        self.tracker.log({f"train/{k}": v for k, v in row.items() if k != "step"}, step=step)
        seconds, self._started = time.perf_counter() - self._started, time.perf_counter()
        validation = row.get("validation_accuracy")
        self.report(
            f"step {step:,}/{trainer.max_steps:,}  loss {loss:.5f}  "
            + (f"validation {validation:.2f} %  " if validation is not None else "")
            + f"{seconds:.0f} s"
            + time_left(seconds * (trainer.max_steps - step) / self.every)
        )
        self._losses = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "losses": [float(loss) for loss in self._losses]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = list(state["rows"])
        device = self.held_out.data.images.device
        self._losses = [torch.tensor(loss, device=device) for loss in state["losses"]]
