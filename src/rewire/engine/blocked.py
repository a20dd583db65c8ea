"""Blocked activations: the values of neighbouring images lie side by side.

A blocked activation is (blocks, channels, height, width, lanes): image number b·lanes + j is lane j
of block b. Lanes without an image hold anything finite in activations, and 0 in gradients.
Ordinary PyTorch operations that treat all lanes alike (sums, ReLU) work on them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from rewire.engine.buffers import empty
from rewire.engine.library import STORAGES, kernels, lanes, pointer
from rewire.errors import InputError


@dataclass(frozen=True)
class Blocked:
    """A blocked activation and the number of its images."""

    data: Tensor
    images: int

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.data.shape[1:4]
        return channels, height, width

    def call(self) -> tuple[int, ...]:
        """What the kernels ask for: storage, images, channels, height, width."""
        return STORAGES[self.data.dtype], self.images, *self.map_shape


def pack(x: Tensor, dtype: torch.dtype) -> Blocked:
    """Float images (B, C, H, W) → blocked, stored as float32 or bfloat16."""
    return Blocked(_Pack.apply(x, dtype), len(x))


def unpack(x: Blocked) -> Tensor:
    """Blocked → float32 (B, C, H, W)."""
    return _Unpack.apply(x.data, x.images)


class _Pack(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.shape = x.shape
        return _packed(x, dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _unpacked(gradient, ctx.shape[0]), None


class _Unpack(Function):
    @staticmethod
    def forward(ctx: Any, data: Tensor, images: int) -> Tensor:
        ctx.dtype = data.dtype
        return _unpacked(data, images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _packed(gradient, ctx.dtype), None


def _packed(x: Tensor, dtype: torch.dtype) -> Tensor:
    if not x.is_cpu:
        raise InputError(f"images on {x.device}. Allowed in the sparse engine: those on a CPU.")
    x = x.float()
    images, channels, height, width = x.shape
    lane = lanes(dtype)
    out = empty((-(-images // lane), channels, height, width, lane), dtype)
    strides = torch.tensor(x.stride())
    kernels().rewire_pack(
        STORAGES[dtype], x.data_ptr(), pointer(strides), images, channels, height, width,
        pointer(out), torch.get_num_threads(),
    )  # fmt: skip
    return out


def _unpacked(data: Tensor, images: int) -> Tensor:
    data = data.contiguous()
    _, channels, height, width, _ = data.shape
    out = torch.empty(images, channels, height, width)
    kernels().rewire_unpack(
        STORAGES[data.dtype], pointer(data), images, channels, height, width, pointer(out),
        torch.get_num_threads(),
    )  # fmt: skip
    return out
