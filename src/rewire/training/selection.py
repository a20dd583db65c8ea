"""Which epoch's network counts: the last one, and the best ones beside it for comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from rewire.models.artifact import network_tensors
from rewire.training.lean import pl

LAST, BEST_VALIDATION, BEST_TEST = "last", "best_validation", "best_test"


class Selections(pl.Callback):
    """Keeps the networks of the best epochs.

    The last epoch is what every table reports. The reference code of the thesis keeps the epoch of
    the best *test* accuracy, which is selection on the test set: it is kept under that name, so
    that the two can be compared. Of equally good epochs the first one counts.

    Args:
        names: what to keep, of `BEST_VALIDATION` (needs held-out images) and `BEST_TEST`.
        count: module → (correct, total) on the test images.

    Attributes:
        best: name → {"epoch", "score" in %, "correct" and "total" on the test images, "tensors" of
            the network}.
        row: what the last epoch adds to its history.
    """

    def __init__(self, names: Sequence[str], *, count: Callable[[Any], tuple[int, int]]) -> None:
        self.names = tuple(names)
        self.count = count
        self.best: dict[str, dict[str, Any]] = {}
        self.row: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        counted: tuple[int, int] | None = None
        scores: dict[str, float] = {}
        if BEST_TEST in self.names:
            counted = self.count(module.model)
            scores[BEST_TEST] = 100 * counted[0] / counted[1]
        validation = trainer.callback_metrics.get("validation/accuracy")
        if BEST_VALIDATION in self.names and validation is not None:
            scores[BEST_VALIDATION] = float(validation)
        better = [
            name
            for name, score in scores.items()
            if name not in self.best or score > self.best[name]["score"]
        ]
        if better:
            correct, total = counted or self.count(module.model)
            tensors = network_tensors(module.model)
            for name in better:
                self.best[name] = {
                    "epoch": trainer.current_epoch + 1,
                    "score": scores[name],
                    "correct": correct,
                    "total": total,
                    "tensors": tensors,
                }
        self.row = {"test_accuracy": scores[BEST_TEST]} if BEST_TEST in scores else {}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Name → tensors of the kept network."""
        return {name: kept["tensors"] for name, kept in self.best.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = dict(state["best"])
