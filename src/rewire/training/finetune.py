"""Training on after pruning, without rewiring (the thesis's outlook, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rewire.models.factory import STATIC
from rewire.models.masked import MaskedNetwork
from rewire.models.sparse import SparseNetwork
from rewire.pruning.settings import Finetune
from rewire.tracking import Tracker
from rewire.training.runner import Trained, train
from rewire.training.settings import Training


def finetune(
    model: SparseNetwork,
    config: Training,
    asked: Finetune,
    *,
    state_of: Mapping[str, Any],
    checkpoints: Path,
    tracker: Tracker,
    report: Callable[[str], None],
) -> Trained:
    """Train a copy of a pruned network with the objective that it was trained with.

    What is zero stays zero. Weights are no longer s·θ: they may change their sign, and none dies.
    The decay of a step keeps its ratio to the learning rate.

    Args:
        model: the pruned network; not changed.
        config: of the training before.
        asked: for how long, and how fast.
        state_of, checkpoints, tracker, report: see `train`.
    """
    before = config.trainer
    trainer = before.model_copy(
        update={
            "epochs": asked.epochs,
            "lr": asked.lr,
            "weight_decay": before.weight_decay * asked.lr / before.lr,
            "selections": [],
        }
    )
    fixed = config.rewire.model_copy(update={"name": STATIC})
    return train(
        config.model_copy(update={"trainer": trainer, "rewire": fixed}),
        state_of=state_of,
        checkpoints=checkpoints,
        tracker=tracker,
        report=report,
        start=MaskedNetwork.of(model).train(),  # Lightning would leave it as it was loaded
    )
