"""The rewiring Callback: Bayesian connectivity sampling after every optimiser step."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from rewire.connectivity.sampling import (
    Connectivity,
    add_noise,
    connected_entries,
    sample_connectivity,
)
from rewire.connectivity.strategies import STRATEGIES, StrategyOptions
from rewire.rng import generator


class Rewiring(pl.Callback):
    """Re-wires dead weights of `module.model` every step (thesis, Algorithm 1).

    Args:
        strategy: name of the rewiring strategy.
        options: its options.
        budget: K, connected weights to hold.
        seed: of the noise and the choice of re-connections.

    Attributes:
        births: (L,) re-connections of each layer since the start.
        surplus_steps: steps after which momentum had revived more than the budget.
        last: the `Connectivity` after the last step.
    """

    def __init__(self, *, strategy: str, options: StrategyOptions, budget: int, seed: int) -> None:
        self.strategy = STRATEGIES[strategy]
        self.options = options
        self.budget = budget
        self.seed = seed
        self.births: Tensor | int = 0
        self.surplus_steps = 0
        self.largest_surplus = 0
        self.last: Connectivity | None = None
        self._connected: Tensor | None = None
        self._lr = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._connected = connected_entries(module.model.theta)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self._lr = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any
    ) -> None:
        theta, layers = module.model.theta.data, module.model.layers
        # global_step was counted up by the optimiser step that has just been made.
        random = generator(self.seed, "rewiring", trainer.global_step, device=theta.device)
        add_noise(theta, self._connected, lr=self._lr, generator=random)
        self.last = sample_connectivity(
            theta,
            layers,
            budget=self.budget,
            strategy=self.strategy,
            options=self.options,
            generator=random,
        )
        self._connected = self.last.connected
        self.births = self.births + self.last.births
        self.surplus_steps += self.last.surplus > 0
        self.largest_surplus = max(self.largest_surplus, self.last.surplus)

    def state_dict(self) -> dict[str, Any]:
        births = torch.as_tensor(self.births)
        return {
            "births": births,
            "surplus_steps": self.surplus_steps,
            "largest_surplus": self.largest_surplus,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.births = state["births"]
        self.surplus_steps = state["surplus_steps"]
        self.largest_surplus = state["largest_surplus"]
