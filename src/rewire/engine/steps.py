"""What the engine does for a layer: convolutions, dense layers, BatchNorm with what follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rewire.engine.blocked import Blocked, pack, unpack
from rewire.engine.index import LayerIndex
from rewire.engine.library import Geometry, lanes
from rewire.engine.ops import affine, batch_norm, convolve, linear
from rewire.errors import InputError
from rewire.models.norm import BatchNorm2d
from rewire.models.sparse import SparseConv2d, SparseLinear

LARGEST_MAPS = 2**30
"""Numbers of one block of images: places are 32-bit, and a tap may lie beyond the map's end."""


@dataclass(frozen=True)
class Weights:
    """What a forward pass needs of the sparse layers.

    Attributes:
        values: (n,) weights of each layer, with their graph.
        layers: index of each layer, with the same weights.
        constant: whether no gradient of a parameter is asked for, only that of the images.
    """

    values: tuple[Tensor, ...]
    layers: list[LayerIndex]
    constant: bool = False


class Conv:
    """A sparse convolution, number `number` of the sparse layers."""

    def __init__(self, module: SparseConv2d, number: int) -> None:
        self.module, self.number = module, number

    def __call__(self, x: Any, weights: Weights, storage: torch.dtype) -> Blocked:
        x = x if isinstance(x, Blocked) else pack(x, storage)
        return convolve(x, weights.values[self.number], weights.layers[self.number])


class Linear:
    """A sparse dense layer, likewise."""

    def __init__(self, module: SparseLinear, number: int) -> None:
        self.module, self.number = module, number

    def __call__(self, x: Any, weights: Weights, storage: torch.dtype) -> Tensor:
        layer = weights.layers[self.number]
        return linear(plain(x), weights.values[self.number], self.module.bias, layer)


class Norm:
    """BatchNorm2d with the ReLU and the pool that follow it."""

    def __init__(
        self, module: nn.BatchNorm2d, *, relu: bool, pool: bool, follows: Conv | None
    ) -> None:
        self.module: Any = module  # with weights and running statistics: see `graph.is_norm`
        self.relu, self.pool = relu, pool
        self.follows = follows  # the convolution that nothing else reads

    @torch.no_grad()
    def constants(self) -> tuple[Tensor, Tensor]:
        """Scale and shift by channel in evaluation mode."""
        norm = self.module
        scale = norm.weight * (norm.running_var.double() + norm.eps).rsqrt().float()
        return scale, norm.bias - norm.running_mean * scale

    def __call__(self, x: Any, weights: Weights, storage: torch.dtype) -> Blocked:
        norm = self.module
        x = x if isinstance(x, Blocked) else pack(x, storage)
        tail: Any = {"relu": self.relu, "pool": self.pool}
        if not norm.training:
            statistics = norm.running_mean, norm.running_var
            trained = norm.weight.requires_grad or norm.bias.requires_grad
            if trained and torch.is_grad_enabled() and not weights.constant:
                return batch_norm(
                    x, norm.weight, norm.bias, eps=norm.eps, statistics=statistics, **tail
                )[0]
            return affine(x, *self.constants(), **tail)
        count = x.images * x.data.shape[2] * x.data.shape[3]
        if count <= 1:
            raise ValueError("BatchNorm expected more than 1 value per channel when training")
        out, mean, variance = batch_norm(x, norm.weight, norm.bias, eps=norm.eps, **tail)
        norm.num_batches_tracked += 1
        if not isinstance(norm, BatchNorm2d):  # PyTorch's own divides by n − 1
            variance = variance * (count / (count - 1))
        norm.running_mean.mul_(1 - norm.momentum).add_(mean, alpha=norm.momentum)
        norm.running_var.mul_(1 - norm.momentum).add_(variance, alpha=norm.momentum)
        return out


def plain(x: Any) -> Any:
    """Float32 (B, C, H, W) of a blocked activation; anything else as it is."""
    return unpack(x) if isinstance(x, Blocked) else x


def geometry_of(
    module: SparseConv2d | SparseLinear, shape: torch.Size, storage: torch.dtype
) -> Geometry:
    """Shape of a sparse layer and its maps, for inputs of a shape (B, C, H, W) or (B, in)."""
    inputs = module.storage_shape[-1]
    if shape[1] != inputs:
        raise InputError(
            f"activations of shape {tuple(shape)} do not fit a layer of {inputs} inputs. "
            "Allowed: images of the shape that the network was built for."
        )
    if isinstance(module, SparseLinear):
        outputs, inputs = module.storage_shape
        return Geometry(inputs, outputs, 1, 1, 1, 1, 0, 1, 1, lanes(torch.float32))
    outputs, kernel, _, inputs = module.storage_shape
    height, width = shape[2:]
    stride, padding = module.stride, module.padding
    if min(height, width) + 2 * padding < kernel:
        raise InputError(
            f"maps of {height} × {width} with a border of {padding} do not fit a layer with a "
            f"kernel of {kernel} × {kernel}. Allowed: images large enough for the network."
        )
    sizes = [(size + 2 * padding - kernel) // stride + 1 for size in (height, width)]
    largest = max(inputs * height * width, outputs * sizes[0] * sizes[1])
    if largest * lanes(storage) >= LARGEST_MAPS:
        raise InputError(
            f"maps of {inputs} × {height} × {width} are larger than the sparse engine's indices. "
            "Allowed: smaller images; or the engine 'dense'."
        )
    return Geometry(inputs, outputs, height, width, kernel, stride, padding, *sizes, lanes(storage))
