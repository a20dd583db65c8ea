"""A training that diverges ends with an error, and with the last good state on the disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from rewire.errors import DivergedError
from rewire.training.lean import pl


class Finite(pl.Callback):
    """Ends a training whose loss or network is no longer finite.

    Stands before the callback that re-wires, which cannot count connections among values that are
    no numbers, and before those that keep or write what an epoch left behind. Serves modules whose
    `latest` has the loss of the last step.

    Args:
        every: steps between two looks at losses and weights; each look waits for the device. At the
            end of an epoch the whole network and the validation are looked at, too.
        weights: of a network, what is looked at between the ends of epochs.
        remedy: what the user may change.
    """

    def __init__(
        self,
        *,
        every: int,
        weights: Callable[[Any], Iterable[Tensor]] = lambda model: (model.theta,),
        remedy: str = "a smaller trainer.lr",
    ) -> None:
        self.every, self.weights, self.remedy = every, weights, remedy
        self._losses: list[Tensor] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._losses = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: object
    ) -> None:
        self._losses.append(module.latest["loss"])
        if trainer.global_step % self.every == 0:
            self._look(trainer, module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self._losses:
            self._look(trainer, module)
        for name, value in module.model.state_dict().items():
            if value.is_floating_point() and not value.isfinite().all():
                raise self._diverged(f"{name} is not finite", trainer.global_step, trainer)
        validation = float(trainer.callback_metrics.get("validation/loss", 0))
        if not math.isfinite(validation):
            raise self._diverged(
                f"the validation loss is {validation}", trainer.global_step, trainer
            )

    @torch.no_grad()
    def _look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Numbers that are not finite stay so in a sum: one pass, no mask, one wait.
        weights: Any = sum(_moved(weight).sum() for weight in self.weights(module.model))
        *losses, total = torch.stack([*self._losses, weights]).tolist()
        self._losses = []
        last = trainer.global_step
        for step, loss in enumerate(losses, start=last - len(losses) + 1):
            if not math.isfinite(loss):
                raise self._diverged(f"the loss is {loss}", step, trainer)
        if not math.isfinite(total):
            raise self._diverged("weights are not finite", last, trainer)

    def _diverged(self, what: str, step: int, trainer: pl.Trainer) -> DivergedError:
        """The error that says what is no longer finite, and when it was seen."""
        return DivergedError(
            f"{what} in epoch {trainer.current_epoch + 1}, step {step}: the training diverged. "
            f"Allowed: {self.remedy}."
        )


@torch.no_grad()
def _moved(weight: Tensor) -> Tensor:
    """The entries that the last step changed by a gradient: all, or those that a sparse one has."""
    if weight.grad is None or not weight.grad.is_sparse:
        return weight
    return weight.index_select(0, weight.grad._indices()[0])
