"""A trained sparse network as a function: images in, logits out, nothing kept for gradients."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from rewire.engine.blocked import Blocked, pack, unpack
from rewire.engine.buffers import empty
from rewire.engine.graph import check_hooks
from rewire.engine.library import STORAGES, Geometry, kernels, pointer
from rewire.engine.ops import affine
from rewire.engine.plan import Plan
from rewire.engine.program import Program
from rewire.engine.quads import SplitIndex, split_index
from rewire.engine.steps import Conv, Linear, Norm
from rewire.errors import InputError
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork

SINGLY = 6
"""Images up to which each goes alone: a block of 16 takes as long as some six alone."""
TOGETHER = 64
"""Images that are in the maps at a time where they go in blocks."""


class Inference:
    """The network's logits, with the weights that it has now and BatchNorm folded into them.

    Images are computed in blocks of 16, or one by one with a kernel of their own where they are
    few. Computed in float32; equal to the network in evaluation mode but for rounding (1e-5).

    Args:
        model: any network that the engine can follow. It is copied: what becomes of it later,
            changes nothing here, and its mode is not touched.

    Raises:
        InputError: if there is no engine, it cannot follow the network, or one of its modules has a
            hook.
    """

    def __init__(self, model: SparseNetwork) -> None:
        kernels()
        check_hooks(model.body)
        self._plan = Plan(_copied(model))
        self._layers = model.layers
        self._connected = model.connected()
        self._values, self._shifts = _folded(model, self._plan)
        self._blocked: dict[tuple[int, ...], list[SplitIndex]] = {}
        self._programs: dict[tuple[tuple[int, int, int], int], Program | None] = {}

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Float images (B, C, H, W) in [0, 1] → logits (B, classes), float32."""
        if x.ndim != 4 or not x.is_cpu:
            raise InputError(
                f"images of shape {tuple(x.shape)} on {x.device}. Allowed: (B, C, H, W) on a CPU."
            )
        _, channels, height, width = x.shape
        x, shape = x.float(), (channels, height, width)
        program = self._program(shape, 1 if len(x) <= SINGLY else TOGETHER)
        if program is not None:
            return program(x.contiguous())
        if shape not in self._blocked:
            self._blocked[shape] = self._index(self._plan.geometry(shape, torch.float32))
        layers = self._blocked[shape]
        with torch.autocast("cpu", enabled=False):
            return self._plan.walk(x, lambda step, x: self._step(step, x, layers))

    def _program(self, image: tuple[int, int, int], held: int) -> Program | None:
        """For images of a shape; None if an operation has no form in one."""
        if (image, held) not in self._programs:
            geometry = self._plan.geometry(image, torch.float32)
            self._programs[image, held] = Program.of(
                self._plan, image, geometry, self._index, self._shifts, held=held
            )
        return self._programs[image, held]

    def _index(self, geometry: list[Geometry]) -> list[SplitIndex]:
        """Of all layers with the folded weights, for other maps."""
        return split_index(self._connected, self._values, self._layers, geometry)

    def _step(self, step: Conv | Linear | Norm, x: Any, layers: list[SplitIndex]) -> Any:
        if isinstance(step, Norm):
            if step.follows is not None:
                return x  # done with the convolution
            x = x if isinstance(x, Blocked) else pack(x, torch.float32)
            return affine(x, *step.constants(), relu=step.relu, pool=step.pool)
        layer, shift = layers[step.number], self._shifts[step.number]
        if isinstance(step, Linear):
            x = unpack(x) if isinstance(x, Blocked) else x
            return unpack(
                _convolved(pack(x[:, :, None, None], torch.float32), layer, shift)
            ).flatten(1)
        x = x if isinstance(x, Blocked) else pack(x, torch.float32)
        norm = self._plan.norm_after(step)
        if norm is None:
            return _convolved(x, layer, shift)
        return _convolved(x, layer, shift, relu=norm.relu, pool=norm.pool)


def _copied(model: SparseNetwork) -> nn.Module:
    """The body in float32 and evaluation mode, without the weights that it may be lent now."""
    sparse = (m for m in model.body.modules() if isinstance(m, SparseConv2d | SparseLinear))
    return copy.deepcopy(model.body, {id(m.weight): None for m in sparse}).float().eval()


def _convolved(
    x: Blocked,
    layer: SplitIndex,
    shift: Tensor | None,
    *,
    relu: bool = False,
    pool: bool = False,
) -> Blocked:
    g, singles = layer.singles.geometry, layer.singles
    size = (g.out_height >> pool, g.out_width >> pool)
    out = empty((len(x.data), g.outputs, *size, g.lanes), x.data.dtype)
    kernels().rewire_convolve(
        STORAGES[x.data.dtype], g, x.images, pointer(x.data), pointer(out),
        pointer(singles.forward_groups), pointer(singles.forward),
        pointer(layer.quad_groups), pointer(layer.quads),
        pointer(shift), int(relu), int(pool), torch.get_num_threads(),
    )  # fmt: skip
    return Blocked(out, x.images)


@torch.no_grad()
def _folded(model: SparseNetwork, plan: Plan) -> tuple[Tensor, list[Tensor | None]]:
    """Weights (K,) of the connected entries and the shift of each layer, BatchNorm folded in."""
    connected = model.connected()
    values = model.flat_weights().index_select(0, connected).float()
    shifts: list[Tensor | None] = [getattr(m, "bias", None) for m in plan.sparse]
    shifts = [None if s is None else s.detach().contiguous() for s in shifts]
    for norm in plan.norms():
        if norm.follows is None:
            continue
        layer = model.layers[norm.follows.number]
        scale, shift = norm.constants()
        inside = (connected >= layer.offset) & (connected < layer.span.stop)
        output = torch.div(connected[inside] - layer.offset, layer.vectors, rounding_mode="floor")
        values[inside] *= scale[output]
        shifts[norm.follows.number] = shift.contiguous()
    return values, shifts
