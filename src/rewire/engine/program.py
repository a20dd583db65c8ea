"""A network for images of one shape: all its operations in one call of the kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_int32, c_void_p
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, fx, nn

from rewire.engine.buffers import empty
from rewire.engine.graph import is_sum
from rewire.engine.library import Geometry, kernels, pointer
from rewire.engine.plan import Plan
from rewire.engine.quads import SplitIndex
from rewire.engine.steps import Conv, Linear, Norm
from rewire.models.sparse import SparseConv2d
from rewire.models.vgg import FlattenChannelsLast

SPARE = 16
"""Floats behind the last plane: sums read whole vectors, the last of which ends less far behind."""


class _Plane(ctypes.Structure):
    """`Plane` of native/single.h."""

    _fields_ = [
        ("data", c_void_p),
        *[(n, c_int32) for n in ("channels", "height", "width", "border")],
    ]


class _Operation(ctypes.Structure):
    """`Operation` of native/single.h."""

    _fields_ = [
        *[(name, c_int32) for name in ("kind", "relu", "pool", "flip")],
        *[(name, _Plane) for name in ("in_", "other", "out")],
        ("geometry", Geometry),
        *[(n, c_void_p) for n in ("groups", "entries", "quad_groups", "quads", "shift")],
    ]  # fmt: skip


CONVOLVE, DENSE, ADD, AVERAGE, FLATTEN = range(5)


@dataclass(frozen=True)
class _Maps:
    """(channels, height, width) of one image with a border of zeros, or of blocks without; or
    (channels,)."""

    data: Tensor
    plane: _Plane
    shape: tuple[int, ...]


class Program:
    """A network for images of one shape.

    Args:
        plan: the operations.
        image: shape (C, H, W).
        geometry: of the sparse layers, for these images.
        index: gives their weights for maps of other sizes.
        shifts: by layer, what is added to its outputs.
        held: images that the maps hold: 1, which then go one by one, or a multiple of 16.

    Raises:
        NotImplementedError: for an operation that has no form here. `of` then gives None, and the
            network goes step by step (inference.py).
    """

    def __init__(
        self,
        plan: Plan,
        image: tuple[int, ...],
        geometry: list[Geometry],
        index: Callable[[list[Geometry]], list[SplitIndex]],
        shifts: list[Tensor | None],
        *,
        held: int,
    ) -> None:
        self._held, self._geometry, self._shifts = held, geometry, shifts
        self._border = max(getattr(m, "padding", 0) for m in plan.sparse) if held == 1 else 0
        pairs = zip(plan.sparse, geometry, strict=True)
        self._layers = index([self._bordered(g, module) for module, g in pairs])
        self._operations: list[_Operation] = []
        self._memory: list[Tensor] = []
        self._alone = Lock()  # the images of one call at a time are in the maps
        # Every thread has maps of its own, for images that it takes through the network alone.
        self._copies = torch.get_num_threads() if held > 1 else 1
        inputs = []
        for _ in range(self._copies):
            self._free: list[Tensor] = []  # memory for maps of the operations to come
            inputs.append(self._maps(image))
            self._output = self._translate(plan, inputs[-1])
        self._inputs = (_Plane * self._copies)(*(maps.plane for maps in inputs))
        self._program = (_Operation * len(self._operations))(*self._operations)
        self._run = kernels().rewire_run

    @classmethod
    def of(cls, *args: Any, held: int) -> Program | None:
        """None where an operation has no form here."""
        try:
            return cls(*args, held=held)
        except NotImplementedError:
            return None

    def __call__(self, images: Tensor) -> Tensor:
        """Contiguous float32 (B, C, H, W) → logits (B, classes)."""
        logits = torch.empty(len(images), self._output.plane.channels)
        with self._alone:
            self._run(
                pointer(images), len(images), self._held, self._copies, self._inputs, self._program,
                len(self._operations) // self._copies, pointer(logits), torch.get_num_threads(),
            )  # fmt: skip
        return logits

    def _bordered(self, g: Geometry, module: nn.Module) -> Geometry:
        """Of the planes that hold the maps of a layer, which decide where its inputs lie."""
        if self._held > 1:
            return g
        rim = 2 * self._border if isinstance(module, SparseConv2d) else 0
        return Geometry(
            g.inputs, g.outputs, g.height + rim, g.width + rim, g.kernel, 1, g.padding,
            g.out_height, g.out_width, 1,
        )  # fmt: skip

    def _maps(self, shape: tuple[int, ...]) -> _Maps:
        channels, height, width = (*shape, 1, 1)[:3]
        rim = self._border if len(shape) == 3 else 0
        pixels = channels * (height + 2 * rim) * (width + 2 * rim)
        if self._held == 1:
            data = torch.zeros(pixels + SPARE)
            self._memory.append(data)
        else:
            data = self._borrowed(self._held * pixels)
        return _Maps(data, _Plane(data.data_ptr(), channels, height, width, rim), shape)

    def _borrowed(self, size: int) -> Tensor:
        """Floats that nothing needs any more, or new ones. What lanes without an image hold ends in
        no logits."""
        large_enough = [data for data in self._free if len(data) >= size]
        if not large_enough:
            self._memory.append(empty((size,), torch.float32))
            return self._memory[-1]
        data = min(large_enough, key=len)
        self._free = [other for other in self._free if other is not data]
        return data

    def _add(self, kind: int, x: _Maps, shape: tuple[int, ...], **fields: Any) -> _Maps:
        """One more operation, and the maps that it writes."""
        out = self._maps(shape)
        self._operations.append(_Operation(kind=kind, in_=x.plane, out=out.plane, **fields))
        return out

    def _translate(self, plan: Plan, image: _Maps) -> _Maps:
        held: dict[fx.Node, _Maps] = {}
        relu: set[fx.Node] = set()  # done by the operation before
        for node in plan.graph.nodes:
            args = [held[a] for a in node.args if isinstance(a, fx.Node)]
            if node.op == "placeholder":
                held[node] = image
            elif node.op == "output":
                if len(args) != 1 or len(args[0].shape) != 1:
                    raise NotImplementedError("logits that are no vector")
                return args[0]
            elif plan.is_absorbed(node) or node in relu:
                held[node] = args[0]
            else:
                follower = plan.relu_follows(node)
                done, held[node] = self._one(plan, node, args, follower is not None)
                if done and follower is not None:
                    relu.add(follower)
            for argument in plan.read_last(node):
                self._let_go(held.pop(argument).data, held)
        raise AssertionError("a graph ends with its output")

    def _let_go(self, data: Tensor, held: dict[fx.Node, _Maps]) -> None:
        """Of blocks: the memory of maps that no operation to come reads."""
        if self._held > 1 and not any(maps.data is data for maps in held.values()):
            self._free.append(data)

    def _one(self, plan: Plan, node: fx.Node, args: list[_Maps], relu: bool) -> tuple[bool, _Maps]:
        """(whether the ReLU behind it was done, too; maps) of one operation."""
        if not args:
            raise NotImplementedError(f"{node.name} reads no activation")
        step, x = plan.step(node), args[0]
        if isinstance(step, Conv):
            g, norm = self._geometry[step.number], plan.norm_after(step)
            pool = int(norm is not None and norm.pool)
            return False, self._add(
                CONVOLVE, x, (g.outputs, g.out_height >> pool, g.out_width >> pool),
                relu=int(plan.relu_after(step)), pool=pool, **self._weights(step.number),
            )  # fmt: skip
        if isinstance(step, Norm) and step.follows is not None:
            return False, x
        if isinstance(step, Linear):
            shape = (self._geometry[step.number].outputs,)
            return True, self._add(DENSE, x, shape, relu=int(relu), **self._weights(step.number))
        if len(args) == 2 and is_sum(node):
            if x.shape != args[1].shape:
                raise NotImplementedError(f"a sum of maps {x.shape} and {args[1].shape}")
            return True, self._add(ADD, x, x.shape, relu=int(relu), other=args[1].plane)
        module = plan.module(node)
        if len(x.shape) == 3:
            channels, height, width = x.shape
            if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
                return False, self._add(AVERAGE, x, (channels, 1, 1))
            last = isinstance(module, FlattenChannelsLast)
            if last or (isinstance(module, nn.Flatten) and _flattens_all(module)):
                shape = (channels * height * width,)
                return False, self._add(FLATTEN, x, shape, flip=int(last))
        raise NotImplementedError(f"{node.name} has no form in a program")

    def _weights(self, number: int) -> dict[str, Any]:
        layer = self._layers[number]
        return {
            "geometry": self._geometry[number],
            "groups": pointer(layer.singles.forward_groups),
            "entries": pointer(layer.singles.forward),
            "quad_groups": pointer(layer.quad_groups),
            "quads": pointer(layer.quads),
            "shift": pointer(self._shifts[number]),
        }


def _flattens_all(module: nn.Flatten) -> bool:
    return module.start_dim == 1 and module.end_dim in (-1, 3)
