"""A trained sparse network as a function: images in, logits out, nothing kept for gradients."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_void_p
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewire.engine.blocked import Blocked, pack, unpack
from rewire.engine.buffers import empty
from rewire.engine.index import Index, LayerIndex
from rewire.engine.library import STORAGES, Geometry, kernels, pointer
from rewire.engine.ops import affine
from rewire.engine.plan import Plan
from rewire.engine.steps import Conv, Linear, Norm
from rewire.errors import InputError
from rewire.models.sparse import SparseNetwork

SINGLY = 4
"""Images up to which each goes alone: a block of 16 takes as long as some four alone."""


class Inference:
    """The network's logits, with the weights that it has now and BatchNorm folded into them.

    Images are computed in blocks of 16, or one by one with a kernel of its own where they are
    few. Computed in float32; equal to the network in evaluation mode but for rounding (1e-5).

    Args:
        model: a network whose first BatchNorm behind each convolution is its own; it is copied.

    Raises:
        InputError: if there is no engine, or it cannot follow the network.
    """

    def __init__(self, model: SparseNetwork) -> None:
        kernels()
        self._plan = Plan(model.body)
        self._layers = model.layers
        self._connected = model.connected()
        self._values, self._shifts = _folded(model, self._plan)
        self._blocked: dict[tuple[int, ...], list[LayerIndex]] = {}
        self._kept: list[Index] = []
        self._single: dict[tuple[int, ...], _Single | None] = {}

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Float images (B, C, H, W) in [0, 1] → logits (B, classes), float32."""
        if x.ndim != 4:
            raise InputError(f"images of shape {tuple(x.shape)}. Allowed: (B, C, H, W).")
        x, shape = x.float(), tuple(x.shape[1:])
        if len(x) <= SINGLY:
            if shape not in self._single:
                self._single[shape] = _Single.of(self, shape)
            single = self._single[shape]
            if single is not None:
                return torch.stack([single(image) for image in x.contiguous()])
        if shape not in self._blocked:
            self._blocked[shape] = self.index(self._plan.geometry(shape, torch.float32))
        layers = self._blocked[shape]
        return self._plan.walk(x, lambda step, x: self._step(step, x, layers), _evaluated)

    def index(self, geometry: list[Geometry]) -> list[LayerIndex]:
        """Of all layers with the folded weights, for other maps."""
        index = Index(self._connected, self._layers, geometry)
        index.set_weights(self._values)
        self._kept.append(index)
        return index.layers

    def _step(self, step: Conv | Linear | Norm, x: Any, layers: list[LayerIndex]) -> Any:
        if isinstance(step, Norm):
            if step.follows is None:
                return affine(x, *step.constants(), relu=step.relu, pool=step.pool)
            if not step.pool:
                return x
            one, zero = torch.ones(x.data.shape[1]), torch.zeros(x.data.shape[1])
            return affine(x, one, zero, relu=False, pool=True)
        layer, shift = layers[step.number], self._shifts[step.number]
        if isinstance(step, Linear):
            x = unpack(x) if isinstance(x, Blocked) else x
            return unpack(
                _convolved(pack(x[:, :, None, None], torch.float32), layer, shift, False)
            ).flatten(1)
        x = x if isinstance(x, Blocked) else pack(x, torch.float32)
        return _convolved(x, layer, shift, self._plan.relu_after(step))


def _evaluated(module: nn.Module) -> nn.Module:
    return module.eval()


def _convolved(x: Blocked, layer: LayerIndex, shift: Tensor | None, relu: bool) -> Blocked:
    g = layer.geometry
    out = empty((len(x.data), g.outputs, g.out_height, g.out_width, g.lanes), x.data.dtype)
    kernels().rewire_convolve(
        STORAGES[x.data.dtype], g, x.images, pointer(x.data), pointer(out),
        pointer(layer.forward_groups), pointer(layer.forward), None, pointer(shift), int(relu),
        torch.get_num_threads(),
    )  # fmt: skip
    return Blocked(out, x.images)


@torch.no_grad()
def _folded(model: SparseNetwork, plan: Plan) -> tuple[Tensor, list[Tensor | None]]:
    """Weights (K,) of the connected entries and the shift of each layer, BatchNorm folded in."""
    connected = model.connected()
    values = model.flat_weights().index_select(0, connected)
    shifts: list[Tensor | None] = [getattr(m, "bias", None) for m in plan.sparse]
    shifts = [None if s is None else s.detach().float().contiguous().clone() for s in shifts]
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


class _Plane(ctypes.Structure):
    """`Plane` of native/single.h."""

    _fields_ = [
        ("data", c_void_p),
        *[(n, c_int32) for n in ("channels", "height", "width", "border")],
    ]


class _Operation(ctypes.Structure):
    """`Operation` of native/single.h."""

    _fields_ = [
        *[(name, c_int32) for name in ("kind", "relu", "pool", "stride")],
        *[(name, _Plane) for name in ("in_", "other", "out")],
        ("taps", c_int32), ("flip", c_int32),
        ("groups", c_void_p), ("entries", c_void_p), ("shift", c_void_p),
    ]  # fmt: skip


CONVOLVE, DENSE, ADD, AVERAGE, FLATTEN = range(5)


@dataclass(frozen=True)
class _Maps:
    """Maps of one image, as a node of the graph has them."""

    tensor: Tensor
    plane: _Plane


class _Single:
    """One image at a time, all operations in one call."""

    def __init__(self, inference: Inference, shape: tuple[int, ...]) -> None:
        plan = inference._plan
        self.border = max(m.padding if hasattr(m, "padding") else 0 for m in plan.sparse)
        self._held: list[Any] = []
        geometry = plan.geometry(shape, torch.float32)
        planes = [self._geometry(g) for g in geometry]
        self._layers = inference.index(planes)
        self._shifts = inference._shifts
        self._operations: list[_Operation] = []
        self._input = self._maps(*shape)
        self._output = self._translate(plan)
        self._program = (_Operation * len(self._operations))(*self._operations)

    @classmethod
    def of(cls, inference: Inference, shape: tuple[int, ...]) -> _Single | None:
        """None where an operation has no form for one image."""
        try:
            return cls(inference, shape)
        except NotImplementedError:
            return None

    def __call__(self, image: Tensor) -> Tensor:
        kernels().rewire_run_single(
            pointer(image), ctypes.addressof(self._input.plane), ctypes.addressof(self._program),
            len(self._operations), torch.get_num_threads(),
        )  # fmt: skip
        return self._output.tensor.clone()

    def _geometry(self, g: Geometry) -> Geometry:
        border = 0 if (g.height, g.width) == (1, 1) and g.kernel == 1 and not g.padding else None
        rim = 2 * (self.border if border is None else border)
        return Geometry(
            g.inputs, g.outputs, g.height + rim, g.width + rim, g.kernel, 1, g.padding,
            g.out_height, g.out_width, 1,
        )  # fmt: skip

    def _maps(self, channels: int, height: int, width: int, *, flat: bool = False) -> _Maps:
        rim = 0 if flat else self.border
        # Sums read whole vectors: a little beyond the last plane.
        data = torch.zeros(channels * (height + 2 * rim) * (width + 2 * rim) + 256)
        self._held.append(data)
        view = data[:channels] if flat else data
        return _Maps(view, _Plane(data.data_ptr(), channels, height, width, rim))

    def _add(self, kind: int, x: _Maps, out: _Maps, **fields: Any) -> _Maps:
        self._operations.append(_Operation(kind=kind, in_=x.plane, out=out.plane, **fields))
        return out

    def _translate(self, plan: Plan) -> _Maps:
        held: dict[fx.Node, _Maps] = {}
        relu: set[fx.Node] = set()  # done by the operation before
        for node in plan.graph.nodes:
            args = [held[a] for a in node.args if isinstance(a, fx.Node)]
            if node.op == "placeholder":
                held[node] = self._input
            elif node.op == "output":
                return args[0]
            elif plan.is_absorbed(node) or node in relu:
                held[node] = args[0]
            else:
                follower = plan.relu_follows(node)
                done, held[node] = self._one(plan, node, args, follower is not None)
                if done and follower is not None:
                    relu.add(follower)
        raise AssertionError("a graph ends with its output")

    def _one(self, plan: Plan, node: fx.Node, args: list[_Maps], relu: bool) -> tuple[bool, _Maps]:
        """(whether the ReLU behind it was done, too; maps) of one operation."""
        step, x = plan.step(node), args[0]
        p = x.plane
        if isinstance(step, Conv):
            layer, g = self._layers[step.number], self._layers[step.number].geometry
            norm = plan.norm_after(step)
            pool = int(norm is not None and norm.pool)
            out = self._maps(g.outputs, g.out_height >> pool, g.out_width >> pool)
            return False, self._add(
                CONVOLVE, x, out, relu=int(plan.relu_after(step)), pool=pool,
                stride=step.module.stride, taps=g.kernel**2, **self._weights(step.number, layer),
            )  # fmt: skip
        if isinstance(step, Norm):
            if step.follows is None:
                raise NotImplementedError
            return False, x
        if isinstance(step, Linear):
            layer = self._layers[step.number]
            out = self._maps(layer.geometry.outputs, 1, 1, flat=True)
            return True, self._add(
                DENSE, x, out, relu=int(relu), taps=1, **self._weights(step.number, layer)
            )
        if len(args) == 2 and plan.is_sum(node):
            out = self._maps(p.channels, p.height, p.width)
            return True, self._add(ADD, x, out, relu=int(relu), other=args[1].plane)
        module = plan.module(node)
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
            return False, self._add(AVERAGE, x, self._maps(p.channels, 1, 1))
        last = type(module).__name__ == "FlattenChannelsLast"
        if last or (isinstance(module, nn.Flatten) and module.start_dim == 1):
            out = self._maps(p.channels * p.height * p.width, 1, 1, flat=True)
            return False, self._add(FLATTEN, x, out, flip=int(last))
        raise NotImplementedError

    def _weights(self, number: int, layer: LayerIndex) -> dict[str, int | None]:
        return {
            "groups": pointer(layer.forward_groups),
            "entries": pointer(layer.forward),
            "shift": pointer(self._shifts[number]),
        }
