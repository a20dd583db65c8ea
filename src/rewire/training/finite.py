"""A training that diverges ends with an error, and with the last good state on the disk."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rewire.errors import DivergedError
from rewire.training.lean import pl


class Finite(pl.Callback):
    """Ends a training whose loss or network is no longer finite.

    Stands before the callback that re-wires, which cannot count connections among values that are
    no numbers, and before those that keep or write what an epoch left behind.

    Args:
        every: steps between two looks at losses and θ; each look waits for the device. At the end
            of an epoch the whole network and the validation are looked at, too.
    """

    def __init__(self, *, every: int) -> None:
        self.every = every
        self._losses: list[Tensor] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._losses = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: object
    ) -> None:
        self._losses.append(module.latest["loss"])
        if trainer.global_step % self.every == 0:
            self._look(trainer, _moved(module.model.theta))

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self._losses:
            self._look(trainer, _moved(module.model.theta))
        for name, value in module.model.state_dict().items():
            if value.is_floating_point() and not value.isfinite().all():
                raise diverged(f"{name} is not finite", trainer.global_step, trainer)
        validation = float(trainer.callback_metrics.get("validation/loss", 0))
        if not math.isfinite(validation):
            raise diverged(f"the validation loss is {validation}", trainer.global_step, trainer)

    @torch.no_grad()
    def _look(self, trainer: pl.Trainer, weights: Tensor) -> None:
        # Numbers that are not finite stay so in a sum: one pass, no mask, one wait.
        *losses, total = torch.stack([*self._losses, weights.sum()]).tolist()
        self._losses = []
        last = trainer.global_step
        for step, loss in enumerate(losses, start=last - len(losses) + 1):
            if not math.isfinite(loss):
                raise diverged(f"the loss is {loss}", step, trainer)
        if not math.isfinite(total):
            raise diverged("weights are not finite", last, trainer)


@torch.no_grad()
def _moved(theta: Tensor) -> Tensor:
    """The entries that the last step changed by a gradient: all, or those that a sparse one has."""
    if theta.grad is None or not theta.grad.is_sparse:
        return theta
    return theta.index_select(0, theta.grad._indices()[0])


def diverged(what: str, step: int, trainer: pl.Trainer) -> DivergedError:
    """The error that says what is no longer finite, and when it was seen."""
    return DivergedError(
        f"{what} in epoch {trainer.current_epoch + 1}, step {step}: the training diverged. "
        "Allowed: a smaller trainer.lr."
    )
