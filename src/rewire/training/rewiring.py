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
from rewire.connectivity.static import (
    STATIC_STRATEGIES,
    Placement,
    StaticConnectivity,
    default_capacity,
    is_static,
    place_births,
    sample_connectivity_static,
)
from rewire.connectivity.static_tables import StaticTables, static_tables
from rewire.connectivity.strategies import STRATEGIES, StrategyOptions
from rewire.errors import InputError
from rewire.rng import generator
from rewire.training.lean import pl


class Rewiring(pl.Callback):
    """Re-wires dead weights of `module.model` every step (thesis, Algorithm 1).

    On a GPU a step does not wait for the device (`connectivity.static`): what it leaves behind
    stays there, and the attributes below fetch it when they are read. Strategies that exist only
    in the ordinary form run in that form there, too, and wait in every step.

    Args:
        strategy: name of the rewiring strategy.
        options: its options.
        budget: K, connected weights to hold.
        seed: of the noise and the choice of re-connections.
        static: whether to sample in fixed shapes; None does so on a GPU where the strategy can.
        place: stands in for `static.place_births`, e.g. a compiled version of it.
        check: whether to check what every step left behind (`connectivity.check`); the step is
            then made in the ordinary form, and takes a few times as long.

    Raises:
        InputError: if `static` is asked for with a strategy that cannot.

    Attributes:
        births: (L,) re-connections of each layer since the start.
        surplus_steps: steps after which momentum had revived more than the budget.
        largest_surplus: the most that it had revived beyond the budget.
        late: re-connections that had to wait for the next step, each counted once per step.
        last: the `Connectivity` after the last step.
    """

    def __init__(
        self,
        *,
        strategy: str,
        options: StrategyOptions,
        budget: int,
        seed: int,
        static: bool | None = None,
        place: Callable[..., Placement] = place_births,
        check: bool = False,
    ) -> None:
        self.strategy = STRATEGIES[strategy]
        self.name = strategy
        self.options = options
        self.budget = budget
        self.seed = seed
        if static and not is_static(strategy, options):
            raise InputError(
                f"rewiring strategy '{strategy}' with metric '{options.search.metric}' has no form "
                f"in fixed shapes. Allowed: {', '.join(STATIC_STRATEGIES)}; metric euclidean."
            )
        self.static = static
        self.place = place
        self.check = check
        self.births: Tensor | int = 0
        self._surplus_steps: Tensor | int = 0
        self._largest_surplus: Tensor | int = 0
        self._late: Tensor | int = 0
        self._last: Connectivity | StaticConnectivity | None = None
        self._connected: Tensor | None = None
        self._tables: StaticTables | None = None
        self._lr = 0.0
        self._moving: Callable[[torch.nn.Parameter], Tensor | None] = lambda parameter: None

    @property
    def surplus_steps(self) -> int:
        return int(self._surplus_steps)

    @property
    def largest_surplus(self) -> int:
        return int(self._largest_surplus)

    @property
    def late(self) -> int:
        return int(self._late)

    @property
    def last(self) -> Connectivity | None:
        if not isinstance(self._last, StaticConnectivity):
            return self._last
        return Connectivity(
            connected=connected_entries(self._last.connected),
            per_layer=self._last.per_layer.cpu(),
            births=self._last.births.cpu(),
            surplus=int(self._last.surplus),
        )

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        theta = module.model.theta.data
        wanted = theta.is_cuda if self.static is None else self.static
        if wanted and not self.check and is_static(self.name, self.options):
            self._tables = static_tables(module.model.layers, device=theta.device)
            self._connected = theta > 0
            self.births = torch.as_tensor(self.births).to(theta.device)
        else:
            self._tables = None
            self._connected = connected_entries(theta)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self._lr = optimizer.param_groups[0]["lr"]
        # Of a step over all entries, any may have become connected.
        self._moving = getattr(optimizer, "moving", lambda parameter: None)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any
    ) -> None:
        theta, step = module.model.theta.data, trainer.global_step
        # global_step was counted up by the optimiser step that has just been made.
        random = generator(self.seed, "rewiring", step, device=theta.device)
        if self._tables is not None:
            last = self._sample_static(theta, random, first=step == 1)
            self._largest_surplus = last.surplus.clamp(min=self._largest_surplus)
            self._late = self._late + last.late
        else:
            last = self._sample(module.model, random, step=step)
            self._largest_surplus = max(self.largest_surplus, last.surplus)
        self._last, self._connected = last, last.connected
        self.births = self.births + last.births
        self._surplus_steps = self._surplus_steps + (last.surplus > 0)

    def _sample(self, model, random: torch.Generator, *, step: int) -> Connectivity:
        theta, layers = model.theta.data, model.layers
        alive = add_noise(theta, self._connected, lr=self._lr, generator=random)
        others = self._moving(model.theta)
        connected = connected_entries(theta, alive=alive, others=others)
        before = theta > 0 if self.check else None
        result = sample_connectivity(
            theta,
            layers,
            budget=self.budget,
            strategy=self.strategy,
            options=self.options,
            generator=random,
            connected=connected,
        )
        model.know_connected(result.connected)
        if before is not None:
            check_connectivity(
                theta,
                model.sign,
                layers,
                before=before,
                result=result,
                budget=self.budget,
                step=step,
            )
        return result

    def _sample_static(self, theta, random: torch.Generator, *, first: bool) -> StaticConnectivity:
        # The first step fills the network up to its budget; no later one makes as many births.
        return sample_connectivity_static(
            theta,
            self._connected,
            self._tables,
            budget=self.budget,
            strategy=self.name,
            options=self.options,
            lr=self._lr,
            generator=random,
            capacity=self.budget if first else default_capacity(self.budget),
            place=place_births if first else self.place,
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "births": torch.as_tensor(self.births).cpu(),
            "surplus_steps": self.surplus_steps,
            "largest_surplus": self.largest_surplus,
            "late": self.late,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.births = state["births"]
        self._surplus_steps = state["surplus_steps"]
        self._largest_surplus = state["largest_surplus"]
        self._late = state.get("late", 0)
