"""The reference's optimiser: momentum SGD with weight decay that does not pass through it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from rewire.engine.listed import ListedSteps

PIECE = 2**17
"""Entries that a CPU's cache holds from one operation to the next: three times as fast."""


class DecoupledSGD(torch.optim.Optimizer):
    """v ← momentum·v − lr·g, then var ← (1 − decay)·var + v; `decay` follows the rate's schedule.

    As in Keras (thesis, section 2), the velocity v holds the rates at which its gradients came: of
    the steps before a drop of the rate it keeps the full length. PyTorch's SGD multiplies by the
    rate at last and shortens them; the two are equal while the rate stays the same.

    The decay is *not* multiplied by the learning rate and applies to every trainable variable,
    dormant θ included (thesis, section 2). Coupled L2 would enter the momentum of dormant θ and
    silently re-connect them. Variables without a gradient (None) are left alone.

    Args:
        lr: initial learning rate.
        decay: share of each variable removed per step at the initial learning rate.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, momentum: float, decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.initial_lr, self.decay = lr, decay
        self._listed: dict[nn.Parameter, ListedSteps] = {}  # parameters with sparse gradients

    def moving(self, parameter: nn.Parameter) -> Tensor | None:
        """Entries of a sparse parameter that are not connected, but may become so by momentum.

        None where every entry is stepped, so that it can be any.
        """
        listed = self._listed.get(parameter)
        return None if listed is None else listed.moving

    def settle(self) -> None:
        """Bring up to date what no step has looked at; to be called before parameters are read."""
        for listed in self._listed.values():
            listed.settle()

    def state_dict(self) -> dict[str, Any]:
        self.settle()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._listed.clear()

    @torch.no_grad()
    def step(self, closure=None):
        # Lightning hands the forward and backward pass over as the closure.
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            given = [p for p in group["params"] if p.grad is not None]
            for parameter in given:
                if not parameter.grad.is_sparse and parameter in self._listed:
                    self._listed.pop(parameter).settle()  # a step over everything follows
            self._step_dense([p for p in given if not p.grad.is_sparse], group)
            for parameter in given:
                if parameter.grad.is_sparse:
                    self._step_listed(parameter, group)
        return loss

    def _step_dense(self, params: Sequence[nn.Parameter], group: Mapping[str, Any]) -> None:
        """One step of `params`, whose gradients are ordinary tensors."""
        keep = 1 - self.decay * group["lr"] / self.initial_lr
        whole = [(p.detach(), p.grad, self._velocity(p)) for p in params if p.grad is not None]
        for variables, gradients, velocities in _in_pieces(whole):
            # Each operation rounds by itself: fused, they would give other bits elsewhere.
            steps = torch._foreach_mul(gradients, group["lr"])
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_sub_(velocities, steps)
            torch._foreach_mul_(variables, keep)
            torch._foreach_add_(variables, velocities)

    def _step_listed(self, parameter: nn.Parameter, group: Mapping[str, Any]) -> None:
        """The same step of a parameter whose gradient lists its connected entries."""
        if parameter not in self._listed:
            self._listed[parameter] = ListedSteps(
                parameter.detach(),
                self._velocity(parameter),
                momentum=group["momentum"],
                smallest_keep=1 - self.decay,
            )
        assert parameter.grad is not None
        self._listed[parameter].step(
            parameter.grad._indices()[0],
            parameter.grad._values(),
            keep=1 - self.decay * group["lr"] / self.initial_lr,
            rate=group["lr"],
        )

    def _velocity(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        return state["velocity"]


def _in_pieces(whole: Sequence[tuple[Tensor, ...]]) -> Iterator[tuple[list[Tensor], ...]]:
    """The same lists of tensors, on a CPU large tensors in pieces of `PIECE` entries."""
    together = []
    for tensors in whole:
        large = tensors[0].is_cpu and tensors[0].numel() > PIECE
        if large and all(tensor.is_contiguous() for tensor in tensors):
            for piece in zip(*(tensor.view(-1).split(PIECE) for tensor in tensors), strict=True):
                yield tuple([part] for part in piece)
        else:
            together.append(tensors)
    if together:
        yield tuple(map(list, zip(*together, strict=True)))


def step_schedule(optimiser: torch.optim.Optimizer, *, total_steps: int) -> LambdaLR:
    """Factors 1, .1, .01 with drops at 50 % and 75 % of the iterations (thesis, section 2).

    Iterations count from 0, and the one at the boundary still has the old rate.
    """
    half, late = int(0.5 * total_steps), int(0.75 * total_steps)

    def factor(step: int) -> float:
        return 1.0 if step <= half else 0.1 if step <= late else 0.01

    return LambdaLR(optimiser, factor)
