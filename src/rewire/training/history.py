"""What a training leaves behind besides weights: one row of numbers per epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rewire.models.layout import SparseLayer
from rewire.progress import time_left
from rewire.tracking import Tracker
from rewire.training.fixed_mask import FixedConnectivity
from rewire.training.lean import pl
from rewire.training.metrics import Row
from rewire.training.rewiring import Rewiring
from rewire.training.selection import Selections


def zero_vector_counts(connected: Tensor, layers: tuple[SparseLayer, ...]) -> list[int]:
    """Vectors without any connected entry, per layer, from flat indices."""
    counts = []
    for layer in layers:
        inside = connected[(connected >= layer.offset) & (connected < layer.span.stop)]
        living = torch.bincount((inside - layer.offset) % layer.vectors, minlength=layer.vectors)
        counts.append(int((living == 0).sum()))
    return counts


class History(pl.Callback):
    """Collects losses without touching the device and summarises every epoch.

    Lightning's `self.log` costs more than a step of a small network; here a step only keeps
    references, and numbers leave the device every `log_every` steps.

    Args:
        rewiring: the callback that knows the connectivity.
        tracker: receives step and epoch metrics.
        log_every: steps between logged steps.
        report: called with one line of text per epoch.
        selections: if given, the callback before this one that judged the epoch on test images.
    """

    def __init__(
        self,
        rewiring: Rewiring | FixedConnectivity,
        *,
        tracker: Tracker,
        log_every: int,
        report: Callable[[str], None],
        selections: Selections | None = None,
    ) -> None:
        self.selections = selections
        self.rewiring = rewiring
        self.tracker = tracker
        self.log_every = log_every
        self.report = report
        self.rows: list[Row] = []
        self._steps: list[dict[str, Tensor]] = []
        self._growth_before = 0
        self._rate = 0.0
        self._started = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._steps = []
        self._growth_before = int(torch.as_tensor(self.rewiring.growth).sum())
        self._started = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any
    ) -> None:
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]  # of this step, not the next one

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any
    ) -> None:
        self._steps.append(module.latest)
        if trainer.global_step % self.log_every == 0:
            step = {f"train/{name}": float(value) for name, value in module.latest.items()}
            last = self.rewiring.last
            assert last is not None  # a step was made
            step |= {
                "train/lr": self._rate,
                "train/growth": int(last.growth.sum()),
                "train/surplus": last.surplus,
            }
            self.tracker.log(step, step=trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        layers, last = module.model.layers, self.rewiring.last
        assert last is not None
        growth = int(torch.as_tensor(self.rewiring.growth).sum())
        zero = zero_vector_counts(last.connected, layers)
        row: Row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        for name in self._steps[0]:
            mean = torch.stack([step[name].float() for step in self._steps]).mean()
            row[f"train_{name}"] = round(float(mean), 6)
        for name in ("validation/accuracy", "validation/loss"):
            if name in trainer.callback_metrics:
                row[name.replace("/", "_")] = round(float(trainer.callback_metrics[name]), 6)
        if self.selections is not None:
            row |= self.selections.row
        row |= {
            "connected": len(last.connected),
            "births": growth - self._growth_before,
            "turnover": growth / self.rewiring.budget,
            "zero_vectors": 100 * sum(zero) / sum(layer.vectors for layer in layers),
        }
        for layer, count in zip(layers, last.per_layer.tolist(), strict=True):
            row[f"density_{layer.name}"] = count / layer.size
        self.rows.append(row)
        self.tracker.log(
            {f"epoch/{name}": value for name, value in row.items()}, step=trainer.global_step
        )
        seconds = time.perf_counter() - self._started
        validation = row.get("validation_accuracy")
        self.report(
            f"epoch {row['epoch']}/{trainer.max_epochs}  loss {row['train_loss']:.3f}  "
            + (f"validation {validation:.1f} %  " if validation is not None else "")
            + f"zero vectors {row['zero_vectors']:.2f} %  growth {row['births']:,}  {seconds:.0f} s"
            + time_left(seconds * (trainer.max_epochs - row["epoch"]))
        )

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = list(state["rows"])
