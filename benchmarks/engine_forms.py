"""The networks that the engine's benchmark compares: sparse as after a training, and dense ones."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmarks.workload import SEED, SHAPE, BareLoop, dense_network
from rewire.engine.network import use_engine
from rewire.models.layout import SparseLayer, connection_budget, lay_out, total_size
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.registry import MODELS
from rewire.rng import generator
from rewire.training.device import choose_precision

CPU = torch.device("cpu")
IMAGE = (3, 32, 32)
STORAGES = {"float32": "32-true", "bf16": "bf16-mixed"}
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}

LAYERS = (*(f"conv{n}" for n in range(1, 9)), *(f"dense{n}" for n in range(1, 4)))
# Density of every layer in %. Measured after trainings with `random`: results/thesis/
# natural-s0.99-4-epochs (width 1), and results/thesis/cpu (width 0.5; natural 6, TRADES 2 epochs).
MEASURED = {
    ("natural", 0.99): (43.2, 9.16, 0.850, 0.837, 0.851, 0.837, 0.897, 1.01, 1.17, 1.16, 57.2),
    ("natural", 0.95): (40.9, 11.2, 4.54, 4.53, 4.45, 4.44, 4.81, 5.42, 6.70, 6.72, 53.1),
    ("trades", 0.95): (48.7, 19.2, 5.00, 4.76, 4.67, 4.58, 4.81, 5.10, 5.57, 5.05, 55.2),
}
# Assumed for other sparsities: the layers between conv2 and dense3 share the budget evenly.
ASSUMED = {0.98: (43, 10, 57), 0.90: (43, 20, 57), 0.80: (43, 20, 57)}


def connections(layers: Sequence[SparseLayer], sparsity: float, objective: str) -> list[int]:
    """Connected weights of each layer of VGG11 after a training, the whole budget in all.

    The measured or assumed densities hold for conv1, conv2 and dense3; the others share the rest
    in their proportion.
    """
    densities = MEASURED.get((objective, sparsity))
    if densities is None:
        first, second, last = ASSUMED[sparsity]
        densities = (first, second, *[1.0] * 8, last)
    wanted = [d / 100 * layer.size for d, layer in zip(densities, layers, strict=True)]
    fixed = {0, 1, len(layers) - 1}
    counts = [round(count) if number in fixed else 0 for number, count in enumerate(wanted)]
    rest = connection_budget(total_size(layers), sparsity) - sum(counts)
    left = sum(count for number, count in enumerate(wanted) if number not in fixed)
    for number, count in enumerate(wanted):
        if number not in fixed:
            counts[number] = round(rest * count / left)
            rest, left = rest - counts[number], left - count
    return counts


def trained_like(*, width: float, sparsity: float, objective: str = "natural") -> SparseNetwork:
    """VGG11 with as many connections in every layer as after a training, at random places.

    Values are those of the start of a training.
    """
    body = MODELS["vgg11"](width=width, **SHAPE)
    layers = lay_out((name, body.get_submodule(name).storage_shape) for name in LAYERS)
    counts = connections(layers, sparsity, objective)
    p_init = [Fraction(n, layer.size) for n, layer in zip(counts, layers, strict=True)]
    return SparseNetwork(body, p_init=p_init, generator=generator(SEED, "model"))


def on_engine(*, width: float, sparsity: float, objective: str = "natural") -> SparseNetwork:
    """`trained_like`, on the sparse engine."""
    return use_engine(trained_like(width=width, sparsity=sparsity, objective=objective))


@torch.no_grad()
def calibrate(model: nn.Module, x: Tensor) -> None:
    """Set the running statistics of every BatchNorm to those of `x`; leaves it in eval mode."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()(x)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    model.eval()


def ordinary(model: SparseNetwork, *, width: float) -> nn.Module:
    """The same VGG11 of ordinary layers, with its weights and statistics, in its mode."""
    dense = dense_network(width=width, device=CPU)
    weights = [layer.as_weight(layer.of(model.flat_weights())) for layer in model.layers]
    for ours, theirs in zip(model.body.children(), dense.children(), strict=True):
        state = ours.state_dict()
        if isinstance(ours, SparseConv2d | SparseLinear):
            state["weight"] = weights.pop(0)
        theirs.load_state_dict(state)
    return dense.train(model.training)


def folded(dense: nn.Module) -> nn.Module:
    """An evaluated network of ordinary layers with every BatchNorm inside its convolution."""
    parts: list[nn.Module] = []
    for module in copy.deepcopy(dense).eval():
        if isinstance(module, nn.BatchNorm2d):
            parts[-1] = fuse_conv_bn_eval(parts[-1], module)
        else:
            parts.append(module)
    return nn.Sequential(*parts).to(memory_format=torch.channels_last)


class UnfoldedConv2d(nn.Module):
    """A 3×3 convolution of padding 1 as a matrix product with the unfolded maps (im2col).

    In plain PyTorch, and faster than its convolution where that has no good kernel: small maps of
    many channels on processors with AMX.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
        stored = conv.weight.detach().permute(0, 2, 3, 1)
        self.weight = nn.Parameter(stored.clone(memory_format=torch.contiguous_format))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
        maps = x.permute(0, 2, 3, 1).contiguous()
        with torch.autocast("cpu", enabled=False):
            return _Unfolded.apply(maps, weight).permute(0, 3, 1, 2)


class _Unfolded(Function):
    """Maps (N, H, W, C) and weights (O, 3, 3, C) → (N, H, W, O)."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor) -> Tensor:
        columns = _columns(maps)
        ctx.save_for_backward(columns, weight)
        return (columns @ weight.flatten(1).T).view(*maps.shape[:3], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        columns, weight = ctx.saved_tensors
        outputs, _, _, inputs = weight.shape
        gradient = gradient.contiguous()
        before = values = None
        if ctx.needs_input_grad[1]:
            values = (gradient.view(-1, outputs).T @ columns).view(weight.shape)
        if ctx.needs_input_grad[0]:
            turned = weight.flip(1, 2).permute(3, 1, 2, 0).reshape(inputs, -1)
            before = (_columns(gradient) @ turned.T).view(*gradient.shape[:3], inputs)
        return before, values


def _columns(maps: Tensor) -> Tensor:
    """(N, H, W, C) → (N·H·W, 9·C): every pixel's neighbourhood, zeros around the maps."""
    padded = F.pad(maps, (0, 0, 1, 1, 1, 1))
    neighbours = padded.unfold(1, 3, 1).unfold(2, 3, 1)  # (N, H, W, C, 3, 3)
    return neighbours.permute(0, 1, 2, 4, 5, 3).reshape(-1, 9 * maps.shape[3])


def unfolded(dense: nn.Module) -> nn.Module:
    """The widest convolutions as matrix products, in place; returns the network."""
    convolutions = {n: m for n, m in dense.named_children() if isinstance(m, nn.Conv2d)}
    widest = max(conv.out_channels for conv in convolutions.values())
    for name, conv in convolutions.items():
        if conv.out_channels == widest:
            dense.set_submodule(name, UnfoldedConv2d(conv))
    return dense


def fast_storage() -> str:
    """Which precision a training takes on this processor."""
    return {v: k for k, v in STORAGES.items()}[choose_precision("auto", CPU)]


def dense_forms() -> list[str]:
    """Names for `dense_loop`. Where a processor computes no bf16, `dense bf16` is absurdly slow."""
    return ["dense float32", "dense bf16", f"im2col {fast_storage()}"]


def dense_loop(name: str, *, width: float, objective: str, batch_size: int, steps: int) -> BareLoop:
    """Training of a dense network of ordinary layers: its step is to be beaten.

    Args:
        name: `dense` or `im2col` (`unfolded`) and a storage.
        width, objective, batch_size: of the network and the training.
        steps: length of the training as its learning rate sees it.
    """
    form, storage = name.split()
    model = dense_network(width=width, device=CPU)
    return BareLoop(
        unfolded(model) if form == "im2col" else model,
        objective=objective,
        precision=STORAGES[storage],
        device=CPU,
        batch_size=batch_size,
        total_steps=steps,
    )


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Compute with so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
