"""Compiled forward and backward passes for the training step and its attack.

`torch.compile` sees the body of the network as a function of the images and of the weights: the
weights are new tensors in every step, and as arguments they are copied to where a CUDA graph reads
them, while tensors found on a module would be taken for ones that never move. Parameters and
BatchNorm statistics do not move and are used in place.

Only what training calls is compiled. The network itself, its state dictionary and its evaluation
stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from rewire.connectivity.static import place_births
from rewire.errors import InputError
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork

MODES = ("default", "reduce-overhead")


def compile_mode(setting: bool | str, device: torch.device) -> str | None:
    """The mode of `torch.compile` for `trainer.compile`; None where nothing is compiled.

    `true` takes CUDA graphs (`reduce-overhead`) on a GPU and the default mode elsewhere.

    Raises:
        InputError: for another value, or CUDA graphs without a GPU.
    """
    if setting is False:
        return None
    if setting is True:
        return "reduce-overhead" if device.type == "cuda" else "default"
    if setting not in MODES:
        raise InputError(
            f"trainer.compile is {setting!r}. Allowed: false, true, {', '.join(MODES)}."
        )
    if setting == "reduce-overhead" and device.type != "cuda":
        raise InputError("trainer.compile is 'reduce-overhead', but that needs a GPU.")
    return setting


class CompiledNetwork(nn.Module):
    """A `SparseNetwork` for the training step, its forward and backward passes compiled.

    Shares modules, parameters and modes with the network: whatever changes one changes the other.
    It is compiled anew for every combination of mode, image shape and gradient that occurs: three
    times in adversarial training.

    Args:
        network: takes float images in [0, 1], (B, C, H, W), and returns logits (B, classes).
        mode: of `torch.compile`.
        backend: of `torch.compile`.
    """

    def __init__(
        self, network: SparseNetwork, *, mode: str | None = None, backend: str = "inductor"
    ) -> None:
        super().__init__()
        # Networks of earlier trainings must not use up the variants that are kept of a function.
        torch.compiler.reset()
        self.network = network
        self._lent = [
            module
            for module in network.body.modules()
            if isinstance(module, SparseConv2d | SparseLinear)
        ]
        self._run = _compiled(_run, mode=mode, backend=backend)

    def materialised(self, *, detach: bool = False) -> AbstractContextManager[None]:
        """See `SparseNetwork.materialised`."""
        return self.network.materialised(detach=detach)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        with self.network.materialised():
            weights = [module.weight for module in self._lent]
            return self._run(self.network.body, self._lent, weights, x)


def compiled_placement(*, mode: str | None = None, backend: str = "inductor") -> Callable[..., Any]:
    """`connectivity.static.place_births` compiled, for `Rewiring(place=...)`."""
    return _compiled(place_births, mode=mode, backend=backend)


def _compiled(function: Callable[..., Any], *, mode: str | None, backend: str):
    return torch.compile(function, mode=mode, backend=backend, fullgraph=True, dynamic=False)


def _run(body: nn.Module, lent: list[nn.Module], weights: list[Tensor], x: Tensor) -> Tensor:
    for module, weight in zip(lent, weights, strict=True):
        module.weight = weight
    return body(x)
