"""Which epoch's network counts: the last one, and the best ones beside it for comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rewire.evaluation.statistics import Accuracy
from rewire.models.artifact import network_tensors
from rewire.training.lean import pl

LAST, BEST_VALIDATION, BEST_TEST = "last", "best_validation", "best_test"


@dataclass(frozen=True, eq=False)
class Kept:
    """The best epoch so far: its score in %, its test images, the tensors of its network."""

    epoch: int
    score: float
    correct: int
    total: int
    tensors: dict[str, Tensor]

    @property
    def clean(self) -> Accuracy:
        return Accuracy.counted(self.correct, self.total)


class Selections(pl.Callback):
    """Keeps the networks of the best epochs.

    The last epoch is what every table reports. The reference code of the thesis keeps the epoch of
    the best *test* accuracy, which is selection on the test set: it is kept under that name, so
    that the two can be compared. Of equally good epochs the first one counts.

    Args:
        names: what to keep, of `BEST_VALIDATION` (needs held-out images) and `BEST_TEST`.
        count: module → its accuracy on the test images.

    Attributes:
        best: name → what is kept.
        row: what the last epoch adds to its history.
    """

    def __init__(self, names: Sequence[str], *, count: Callable[[Any], Accuracy]) -> None:
        self.names = tuple(names)
        self.count = count
        self.best: dict[str, Kept] = {}
        self.row: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        clean: Accuracy | None = None
        scores: dict[str, float] = {}
        if BEST_TEST in self.names:
            clean = self.count(module.model)
            scores[BEST_TEST] = clean.accuracy
        validation = trainer.callback_metrics.get("validation/accuracy")
        if BEST_VALIDATION in self.names and validation is not None:
            # A float32 mean over batches: its last digits differ between equal counts.
            scores[BEST_VALIDATION] = round(float(validation), 4)
        better = [
            name
            for name, score in scores.items()
            if name not in self.best or score > self.best[name].score
        ]
        if better:
            clean = clean or self.count(module.model)
            tensors = network_tensors(module.model)
            for name in better:
                self.best[name] = Kept(
                    epoch=trainer.current_epoch + 1,
                    score=scores[name],
                    correct=clean.correct,
                    total=clean.total,
                    tensors=tensors,
                )
        self.row = {"test_accuracy": scores[BEST_TEST]} if BEST_TEST in scores else {}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Name → tensors of the kept network."""
        return {name: kept.tensors for name, kept in self.best.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"best": {name: vars(kept) for name, kept in self.best.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = {name: Kept(**kept) for name, kept in state["best"].items()}
