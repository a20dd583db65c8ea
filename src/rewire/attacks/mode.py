"""The state in which a model is attacked and judged, undone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn


def fixed_weights(model: nn.Module, *, detach: bool = False) -> AbstractContextManager[None]:
    """The model's own `materialised` context, or an empty one for a model without it.

    Inside, a sparse model computes its weights once for many forward passes; `detach=True` cuts
    their graph. Contexts may be nested.
    """
    materialised = getattr(model, "materialised", None)
    return nullcontext() if materialised is None else materialised(detach=detach)


@contextmanager
def attack_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode with fixed weights; the mode of every single module comes back afterwards.

    Restoring per module keeps a frozen BatchNorm of a training model frozen. Gradients inside are
    those with respect to the input: no parameter requires one, and weights that the model lends are
    detached.
    """
    modes = [(module, module.training) for module in model.modules()]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with fixed_weights(model, detach=True):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """No autocast, no TF32, no reduced matrix products: accuracy is judged in float32."""
    tf32, matmul = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
        torch.set_float32_matmul_precision(matmul)


@contextmanager
def library_call(model: nn.Module, device: torch.device, *, seed: int) -> Iterator[None]:
    """Where another library attacks: `attack_mode` in float32, its draws decided by `seed`.

    Such libraries draw from the global RNG, which comes back unchanged.
    """
    devices = [device] if device.type == "cuda" else []
    with full_float32(device), attack_mode(model), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def upcast(logits: Tensor) -> Tensor:
    """Logits in float32 at least: losses are taken in float32 also where a model runs in bf16."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
