"""The LightningModule of the article: one dense network, one head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from rewire.models.dense import DenseNetwork
from rewire.rng import generator
from rewire.training.lean import pl

Phases = Sequence[tuple[float, int]]
"""(learning rate, steps) one after the other."""


class DenseClassifier(pl.LightningModule):
    """Trains a `DenseNetwork` with Adam and coupled L2 on every weight and bias.

    The article adds 1e-4 · ½‖p‖² to the loss; its gradient is exactly `weight_decay=1e-4` of plain
    Adam (not AdamW), which costs no extra pass over the parameters.

    Args:
        model: float images (B, 1, 28, 28) in [0, 1] → logits (B, 10).
        loss: (logits (B, classes), labels int64 (B,)) → scalar with graph, in at least float32.
        l2: coefficient of the penalty.
        phases: learning rates and how many steps each lasts.
        seed: of the dropout.
    """

    def __init__(
        self,
        model: DenseNetwork,
        *,
        loss: Callable[[Tensor, Tensor], Tensor],
        l2: float,
        phases: Phases,
        seed: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.l2, self.phases, self.seed = l2, phases, seed
        self.latest: dict[str, Tensor] = {}  # loss of the last step; read by callbacks

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        x, y = batch
        if self.model.dropout != "none":
            random = generator(self.seed, "dropout", self.global_step, device=x.device)
            self.model.set_dropout_generator(random)
        loss = self.loss(self.model(x), y)
        self.latest = {"loss": loss.detach()}
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        first = self.phases[0][0]
        optimiser = torch.optim.Adam(
            self.parameters(), lr=first, weight_decay=self.l2, eps=1e-8, fused=True
        )
        scheduler = LambdaLR(optimiser, lambda step: rate_at(self.phases, step) / first)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def rate_at(phases: Phases, step: int) -> float:
    """Learning rate of optimiser step `step`, from 0; after the last phase its own."""
    end = 0
    for rate, steps in phases:
        end += steps
        if step < end:
            return rate
    return phases[-1][0]
