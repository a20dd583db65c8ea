"""A backward pass that goes where the network's own is blocked; the forward pass stays exact.

An attack that follows the true gradient can stand still behind dead ReLUs, which says nothing about
robustness. Inside `straight_through` the same network has the gradient of a surrogate: what an
attack finds with it is judged on the network as it is (compare backward pass differentiable
approximation, Athalye et al. 2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from rewire.attacks.checks import check_real
from rewire.attacks.mode import fixed_weights
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.rng import generator

RELUS = (F.relu, torch.relu, Tensor.relu, torch.relu_, F.relu_, Tensor.relu_)


@contextmanager
def straight_through(
    model: nn.Module, *, leak: float, dormant: float = 0.0, seed: int = 0
) -> Iterator[None]:
    """Inside, gradients of `model` pass dead ReLUs and unconnected weights; its values do not move.

    A saved network does not know θ and sign of its unconnected weights. In the backward pass each
    of them counts as ±m with a random sign, m so small that all of a layer together have the share
    `dormant` of the energy Σw² of its connected weights.

    Args:
        model: any network; only its `SparseConv2d` and `SparseLinear` have unconnected weights.
        leak: share of the gradient that a ReLU passes where its input is not positive, above 0.
        dormant: see above, 0 for the layers' own backward pass.
        seed: of the signs.

    Raises:
        InputError: for a share out of range.
    """
    check_real("leak", leak, above=0, at_most=1)
    if dormant:
        check_real("dormant", dormant, above=0, at_most=1)
    with ExitStack() as stack:
        if isinstance(model, SparseNetwork):
            stack.enter_context(model.by_modules())
        if dormant:
            for module, filled in filled_weights(model, share=dormant, seed=seed):
                hook = module.register_forward_hook(_backward_through(filled))
                stack.callback(hook.remove)
        stack.enter_context(_Leaky(leak))
        yield


def filled_weights(
    model: nn.Module, *, share: float, seed: int
) -> list[tuple[SparseConv2d | SparseLinear, Tensor]]:
    """(layer, its weight with ±m on the unconnected entries) of every sparse layer that has any."""
    layers = [m for m in model.modules() if isinstance(m, SparseConv2d | SparseLinear)]
    filled = []
    with torch.no_grad(), fixed_weights(model, detach=True):
        for number, module in enumerate(layers):
            weight = module.weight
            absent = weight == 0
            missing = int(absent.sum())
            if missing:
                size = (share * weight.square().sum() / missing).sqrt()
                source = generator(seed, "dormant signs", number)
                signs = torch.randint(0, 2, weight.shape, generator=source) * 2 - 1
                filled.append((module, torch.where(absent, size * signs.to(weight), weight)))
    return filled


def with_gradient_of(value: Tensor, surrogate: Tensor) -> Tensor:
    """`value` exactly, with the gradient of `surrogate`, which must be finite."""
    return value.detach() + (surrogate - surrogate.detach())


def _backward_through(weight: Tensor):
    """A forward hook: the layer's output, with the gradient that it would have with `weight`."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        own, module.weight = module.weight, weight
        try:
            return with_gradient_of(output, module.forward(*inputs))
        finally:
            module.weight = own

    return hook


class _Leaky(TorchFunctionMode):
    """Every ReLU, also one called as a function, lets a share of the gradient pass where dead."""

    def __init__(self, leak: float):
        super().__init__()
        self.leak = leak

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in RELUS:
            x = args[0] if args else kwargs["input"]
            positive = torch.relu(x)
            return with_gradient_of(positive, positive + self.leak * (x - positive))
        return func(*args, **(kwargs or {}))
