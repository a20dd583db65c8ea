"""The LightningModule: one sparse network, one training objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rewire.attacks.mode import attack_mode, full_float32
from rewire.models.sparse import SparseNetwork
from rewire.rng import generator
from rewire.training.compiled import with_compiled_passes
from rewire.training.lean import pl
from rewire.training.optimiser import DecoupledSGD, step_schedule
from rewire.training.replayed import Objective, Replayed


class SparseClassifier(pl.LightningModule):
    """Trains a sparse network with an objective.

    Args:
        model: the network; float images (B, C, H, W) in [0, 1] → logits.
        objective: (model, x, y, generator=...) → loss and logs, with its options (ε, steps, ...).
        lr, momentum, weight_decay: see `DecoupledSGD`.
        seed: of the objective's random numbers (attack starts).
        compiled: whether the objective's passes are compiled; for a GPU.
        replayed: whether they are recorded and replayed; for a GPU.
    """

    def __init__(
        self,
        model: SparseNetwork,
        *,
        objective: Callable[..., tuple[Tensor, dict[str, Tensor]]],
        lr: float,
        momentum: float,
        weight_decay: float,
        seed: int,
        compiled: bool = False,
        replayed: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.loss: Objective = self._on_fixed_weights
        if compiled:
            self.loss = with_compiled_passes(self.loss)
        if replayed:
            self.loss = Replayed(self.loss)
        self.optimiser_options = {"lr": lr, "momentum": momentum, "decay": weight_decay}
        self.seed = seed
        self.latest: dict[str, Tensor] = {}  # of the last step; logged by a callback

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        x, y = batch
        random = generator(self.seed, "objective", self.global_step, device=x.device)
        loss, logs = self.loss(self.model, x, y, generator=random)
        self.latest = {"loss": loss.detach(), **logs}
        return loss

    def _on_fixed_weights(
        self, model: SparseNetwork, x: Tensor, y: Tensor, *, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective; one materialisation serves its attack and all its outer passes."""
        with model.materialised():
            return self.objective(model, x, y, generator=generator)

    def validation_step(self, batch: tuple[Tensor, ...], batch_index: int) -> None:
        x, y = batch[0], batch[1]
        # Held-out accuracy selects a network: it is judged as test images are, in float32.
        with full_float32(x.device), attack_mode(self.model):
            logits = self.model(x)
        metrics = {
            "validation/loss": F.cross_entropy(logits, y),
            "validation/accuracy": 100 * (logits.argmax(1) == y).float().mean(),
        }
        self.log_dict(metrics, on_epoch=True, batch_size=len(y))

    def configure_optimizers(self) -> dict[str, Any]:
        optimiser = DecoupledSGD(self.parameters(), **self.optimiser_options)
        # Whoever reads the network finds every entry up to date.
        self.model.register_state_dict_pre_hook(lambda *_: optimiser.settle())
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = step_schedule(optimiser, total_steps=total)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        """Never: clipping is no part of the reference."""
