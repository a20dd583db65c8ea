"""Operations with gradients on blocked activations (`engine.blocked`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from rewire.engine.blocked import Blocked, pack, unpack
from rewire.engine.buffers import empty
from rewire.engine.index import LayerIndex
from rewire.engine.library import STORAGES, kernels, pointer


def convolve(x: Blocked, values: Tensor, layer: LayerIndex) -> Blocked:
    """The sparse convolution of a layer without bias.

    Args:
        x: (inputs, height, width) maps, stored in blocks of the layer's lanes.
        values: (n,) the layer's weights; the kernels read those in its index, gradients go here.
        layer: its index, with the same weights.
    """
    return Blocked(_Convolve.apply(x.data, values, layer, x.images), x.images)


def linear(x: Tensor, values: Tensor, bias: Tensor | None, layer: LayerIndex) -> Tensor:
    """A sparse dense layer: float (B, in) → float32 (B, out); see `convolve`."""
    blocked = pack(x[:, :, None, None], torch.float32)
    out = unpack(convolve(blocked, values, layer)).flatten(1)
    return out if bias is None else out + bias


def affine(x: Blocked, scale: Tensor, shift: Tensor, *, relu: bool, pool: bool) -> Blocked:
    """scale·x + shift by channel (both (C,), constants), then ReLU, then 2×2 max-pool."""
    return Blocked(_Affine.apply(x.data, scale, shift, x.images, relu, pool), x.images)


def batch_norm(
    x: Blocked,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float,
    relu: bool,
    pool: bool,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> tuple[Blocked, Tensor, Tensor]:
    """BatchNorm by the statistics of the batch, then ReLU, then 2×2 max-pool, where wanted.

    Args:
        statistics: mean and variance by channel to use instead, as constants.

    Returns:
        The activation, and the mean and (of a batch: biased) variance that it was normalised with
        (no gradients).
    """
    data, mean, variance = _BatchNorm.apply(
        x.data, weight, bias, x.images, eps, relu, pool, statistics
    )
    return Blocked(data, x.images), mean, variance


def gather_weights(theta: Tensor, sign: Tensor | None, connected: Tensor) -> Tensor:
    """w = s·θ of the connected entries, (K,), with a sparse gradient of θ.

    Without signs (fixed connectivity) w = θ, and the gradient is an ordinary one.
    """
    if sign is None:
        return theta.index_select(0, connected)
    return _Gather.apply(theta, sign, connected)


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor, sign: Tensor, connected: Tensor) -> Tensor:
        signs = sign.index_select(0, connected)
        ctx.save_for_backward(connected, signs)
        ctx.shape = theta.shape
        return theta.index_select(0, connected).mul_(signs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        connected, signs = ctx.saved_tensors
        return (
            torch.sparse_coo_tensor(
                connected[None],
                gradient * signs,
                ctx.shape,
                is_coalesced=True,
                check_invariants=False,
            ),
            None,
            None,
        )


class _Convolve(Function):
    @staticmethod
    def forward(ctx: Any, data: Tensor, values: Tensor, layer: LayerIndex, images: int) -> Tensor:
        g, data = layer.geometry, data.contiguous()
        assert tuple(data.shape[1:]) == (g.inputs, g.height, g.width, g.lanes)
        out = empty((len(data), g.outputs, g.out_height, g.out_width, g.lanes), data.dtype)
        kernels().rewire_convolve(
            STORAGES[data.dtype], g, images, pointer(data), pointer(out),
            pointer(layer.forward_groups), pointer(layer.forward), None, None, None, 0, 0,
            torch.get_num_threads(),
        )  # fmt: skip
        ctx.layer, ctx.images, ctx.changes = layer, images, layer.changes[0]
        ctx.save_for_backward(data, values)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        data, weights = ctx.saved_tensors
        layer, images = ctx.layer, ctx.images
        g, storage, gradient = layer.geometry, STORAGES[data.dtype], gradient.contiguous()
        before, values, threads = None, None, torch.get_num_threads()
        if ctx.needs_input_grad[1]:
            values = torch.empty(layer.size)
            kernels().rewire_weight_gradient(
                storage, g, images, pointer(data), pointer(gradient),
                pointer(layer.forward_groups), pointer(layer.forward),
                pointer(layer.forward_order), pointer(values), threads,
            )  # fmt: skip
        if ctx.needs_input_grad[0]:
            before = empty(tuple(data.shape), data.dtype)
            # The index may have been lent other weights since the forward pass.
            same = ctx.changes == layer.changes[0]
            entries = layer.backward if same else layer.backward_with(weights)
            kernels().rewire_convolve_back(
                storage, g, images, pointer(gradient), pointer(before),
                pointer(layer.backward_groups), pointer(entries), threads,
            )  # fmt: skip
        return before, values, None, None


class _Affine(Function):
    @staticmethod
    def forward(
        ctx: Any, data: Tensor, scale: Tensor, shift: Tensor, images: int, relu: bool, pool: bool
    ) -> Tensor:
        data = data.contiguous()
        ctx.images, ctx.tail = images, (int(relu), int(pool))
        ctx.save_for_backward(data, scale, shift)
        return _tail(Blocked(data, images), scale, shift, ctx.tail)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        data, scale, shift = ctx.saved_tensors
        dz = empty(tuple(data.shape), data.dtype)
        kernels().rewire_tail_back(
            *Blocked(data, ctx.images).call(), *ctx.tail, pointer(data),
            pointer(gradient.contiguous()), None, pointer(scale), pointer(shift), None, None, 0,
            None, None, pointer(dz), torch.get_num_threads(),
        )  # fmt: skip
        return dz, None, None, None, None, None


class _BatchNorm(Function):
    @staticmethod
    def forward(
        ctx: Any,
        data: Tensor,
        weight: Tensor,
        bias: Tensor,
        images: int,
        eps: float,
        relu: bool,
        pool: bool,
        statistics: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        blocked = Blocked(data.contiguous(), images)
        channels = data.shape[1]
        if statistics is None:
            mean, variance = torch.empty(channels), torch.empty(channels)
            kernels().rewire_moments(
                *blocked.call(), pointer(blocked.data), pointer(mean), pointer(variance),
                torch.get_num_threads(),
            )  # fmt: skip
        else:
            mean, variance = (each.clone() for each in statistics)
        inverse = (variance.double() + eps).rsqrt().float()
        scale = weight.detach() * inverse
        shift = bias.detach() - mean * scale
        ctx.images, ctx.tail = images, (int(relu), int(pool))
        ctx.of_batch = int(statistics is None)
        out, winners = _tail(blocked, scale, shift, ctx.tail, keep_winners=pool)
        ctx.save_for_backward(blocked.data, winners, scale, shift, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        data, winners, scale, shift, mean, inverse = ctx.saved_tensors
        dz = empty(tuple(data.shape), data.dtype) if ctx.needs_input_grad[0] else None
        dweight, dbias = torch.empty_like(mean), torch.empty_like(mean)
        kernels().rewire_tail_back(
            *Blocked(data, ctx.images).call(), *ctx.tail, pointer(data),
            pointer(gradient.contiguous()), pointer(winners), pointer(scale), pointer(shift),
            pointer(mean), pointer(inverse), ctx.of_batch, pointer(dweight), pointer(dbias),
            pointer(dz), torch.get_num_threads(),
        )  # fmt: skip
        return dz, dweight, dbias, None, None, None, None, None


def _tail(
    x: Blocked, scale: Tensor, shift: Tensor, tail: tuple[int, int], *, keep_winners: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The activation and, if wanted of a pool, the entries of x that won."""
    blocks, channels, height, width, lane = x.data.shape
    maps = (height // 2, width // 2) if tail[1] else (height, width)
    out = empty((blocks, channels, *maps, lane), x.data.dtype)
    winners = empty(tuple(out.shape), out.dtype) if keep_winners else None
    kernels().rewire_tail(
        *x.call(), *tail, pointer(x.data), pointer(scale), pointer(shift), pointer(out),
        pointer(winners), torch.get_num_threads(),
    )  # fmt: skip
    return out, winners
