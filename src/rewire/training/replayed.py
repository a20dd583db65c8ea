"""A step's forward and backward passes, recorded once as a CUDA graph and replayed from then on.

A step of the thesis's VGG11 is some hundred small kernels, of TRADES a thousand: launched from
Python one by one, they leave a GPU idle most of the time. A replay launches them all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rewire.errors import InputError

Objective = Callable[..., tuple[Tensor, dict[str, Tensor]]]
WARM_UPS = 3  # runs before a recording: libraries choose kernels and take memory in the first ones


class Replayed:
    """An objective of the same signature and the same numbers, for a model on a GPU.

    The objective must not wait for the device, and all its random numbers must come from its
    generator. What it changes in place (running averages) is changed at every replay, too.
    Parameters and buffers must stay where they are.

    Args:
        objective: (model, x, y, generator=...) → loss and logs.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._recordings: dict[Any, _Recording] = {}

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        key = (x.shape, x.dtype, y.shape)
        if key not in self._recordings:
            self._recordings[key] = _Recording(self._objective, model, x, y, generator)
        return self._recordings[key].replay(x, y, generator)


class _Recording:
    """Passes for batches of one shape; results are written to the same places at every replay."""

    def __init__(self, objective, model, x, y, generator) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.x, self.y = x.clone(), y.clone()
        self.random = torch.Generator(x.device).manual_seed(generator.initial_seed())
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(self.random)
        before = [buffer.clone() for buffer in model.buffers()]
        # Elsewhere than on the default stream, as a recording wants what came before it.
        stream = torch.cuda.Stream(x.device)
        stream.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._passes(objective, model)
        torch.cuda.current_stream(x.device).wait_stream(stream)
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.data.copy_(value)  # by `data`: what is derived from a buffer stays known
        try:
            with torch.cuda.graph(self.graph):
                self.loss, self.logs, self.gradients = self._passes(objective, model)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            why = str(error).splitlines()[0]
            raise InputError(
                f"the objective cannot be recorded: {why}. Allowed on a GPU: operations that do "
                "not wait for the device; or trainer.device=cpu."
            ) from error

    def _passes(self, objective, model) -> tuple[Tensor, dict[str, Tensor], tuple[Tensor, ...]]:
        kind = self.x.device.type
        # Casts that autocast remembers from a pass before would not be made anew in a replay.
        with torch.autocast(
            kind,
            dtype=torch.get_autocast_dtype(kind),
            enabled=torch.is_autocast_enabled(kind),
            cache_enabled=False,
        ):
            loss, logs = objective(model, self.x, self.y, generator=self.random)
        return loss.detach(), logs, torch.autograd.grad(loss, self.parameters)

    def replay(self, x, y, generator) -> tuple[Tensor, dict[str, Tensor]]:
        self.x.copy_(x)
        self.y.copy_(y)
        self.random.manual_seed(generator.initial_seed())
        self.graph.replay()
        loss = _Recorded.apply(self.loss, self.gradients, *self.parameters)
        # The next replay overwrites what this one found.
        return loss, {name: value.clone() for name, value in self.logs.items()}


class _Recorded(torch.autograd.Function):
    """A loss whose gradients with respect to the parameters are known already."""

    @staticmethod
    def forward(ctx, loss: Tensor, gradients: tuple[Tensor, ...], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx, scale):
        return None, None, *torch._foreach_mul(ctx.gradients, scale)
