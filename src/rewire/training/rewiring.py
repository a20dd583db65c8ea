"""The rewiring Callback: Bayesian connectivity sampling after every optimiser step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rewire.connectivity.check import check_connectivity
from rewire.connectivity.sampling import (
    Connectivity,
    add_noise,
    connected_entries,
    sample_connectivity,
)
from rewire.connectivity.strategies.base import Strategy
from rewire.models.sparse import SparseNetwork
from rewire.rng import generator
from rewire.training.lean import pl


class Rewiring(pl.Callback):
    """Re-wires dead weights of `module.model` every step (thesis, Algorithm 1).

    Args:
        strategy: where re-connections go, with its options.
        budget: K, connected weights to hold.
        seed: of the noise and the choice of re-connections.
        check: whether to check what every step left behind (`connectivity.check`).

    Attributes:
        growth: (L,) re-connections of each layer since the start.
        surplus_steps: steps after which momentum had revived more than the budget.
        largest_surplus: the most that it had revived beyond the budget.
        last: the `Connectivity` after the last step.
    """

    def __init__(
        self,
        *,
        strategy: Strategy,
        budget: int,
        seed: int,
        check: bool = False,
    ) -> None:
        self.strategy = strategy
        self.budget = budget
        self.seed = seed
        self.check = check
        self.growth: Tensor | int = 0
        self.surplus_steps = 0
        self.largest_surplus = 0
        self.last: Connectivity | None = None  # before the first step
        self._connected: Tensor
        self._lr = 0.0
        self._moving: Callable[[torch.nn.Parameter], Tensor | None] = lambda parameter: None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._connected = connected_entries(module.model.theta.data)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self._lr = optimizer.param_groups[0]["lr"]
        # Of a step over all entries, any may have become connected.
        self._moving = getattr(optimizer, "moving", lambda parameter: None)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any
    ) -> None:
        # global_step was counted up by the optimiser step that has just been made.
        self.last = self._sample(module.model, step=trainer.global_step)
        self._connected = self.last.connected
        self.growth = self.growth + self.last.growth
        self.surplus_steps += self.last.surplus > 0
        self.largest_surplus = max(self.largest_surplus, self.last.surplus)

    def _sample(self, model: SparseNetwork, *, step: int) -> Connectivity:
        theta, layers = model.theta.data, model.layers
        random = generator(self.seed, "rewiring", step, device=theta.device)
        alive = add_noise(theta, self._connected, lr=self._lr, generator=random)
        others = self._moving(model.theta)
        connected = connected_entries(theta, alive=alive, others=others)
        before = theta > 0 if self.check else None
        result = sample_connectivity(
            theta,
            layers,
            budget=self.budget,
            strategy=self.strategy,
            generator=random,
            connected=connected,
        )
        model.know_connected(result.connected)
        if before is not None:
            check_connectivity(
                theta,
                layers,
                before=before,
                result=result,
                budget=self.budget,
                step=step,
            )
        return result

    def state_dict(self) -> dict[str, Any]:
        return {
            "births": torch.as_tensor(self.growth),
            "surplus_steps": self.surplus_steps,
            "largest_surplus": self.largest_surplus,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.growth = state["births"]
        self.surplus_steps = state["surplus_steps"]
        self.largest_surplus = state["largest_surplus"]
