"""From the modules of a network to the operations of the engine."""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from rewire.engine.blocked import Blocked
from rewire.engine.graph import (
    check_layer,
    is_norm,
    is_pool,
    is_relu,
    is_sum,
    last_readers,
    only_user,
    overwritten,
    traced,
)
from rewire.engine.library import Geometry
from rewire.engine.steps import Conv, Linear, Norm, Weights, geometry_of, plain
from rewire.errors import InputError
from rewire.models.sparse import SparseConv2d, SparseLinear


class Plan:
    """A network's body, operation by operation.

    Sparse layers, BatchNorm with the ReLU and 2×2 max-pool behind it, sums and ReLU run in blocked
    form. Everything else is called as it is, on float32 (B, C, H, W).

    Args:
        body: modules with `SparseConv2d` and `SparseLinear` among them.

    Raises:
        InputError: if the order of its operations depends on data, or on the mode elsewhere than in
            its layers; for a sparse layer with a forward pass of its own; and where an operation
            overwrites what another one reads, which the engine would not.
    """

    def __init__(self, body: nn.Module) -> None:
        self.graph, in_other_mode = traced(body), traced(body, other_mode=True)
        if str(self.graph) != str(in_other_mode):
            raise InputError(
                f"the sparse engine cannot follow {type(body).__name__}: outside of its layers it "
                "asks for its mode (a function that does, like dropout, has a module)"
            )
        self.body = body
        modules = dict(body.named_modules())
        self.sparse = [
            module for module in modules.values() if isinstance(module, SparseConv2d | SparseLinear)
        ]
        numbers = {id(module): number for number, module in enumerate(self.sparse)}
        calls = Counter(node.target for node in self.graph.nodes if node.op == "call_module")
        self._special: dict[fx.Node, Conv | Linear | Norm] = {}
        self._absorbed: set[fx.Node] = set()  # the work of these is done by a BatchNorm before
        for node in self.graph.nodes:
            if node.op != "call_module" or node in self._absorbed:
                continue
            module = modules[node.target]
            if is_norm(module):
                relu, pool, last = False, False, node
                after = only_user(last)
                if after is not None and is_relu(after, modules):
                    relu, last, after = True, after, only_user(after)
                    self._absorbed.add(last)
                if after is not None and is_pool(after, modules):
                    pool, last = True, after
                    self._absorbed.add(last)
                before = self._special.get(node.args[0])
                alone = len(node.args[0].users) == 1 and calls[node.args[0].target] == 1
                follows = before if isinstance(before, Conv) and alone else None
                self._special[node] = Norm(module, relu=relu, pool=pool, follows=follows)
            elif id(module) in numbers:
                check_layer(module, node.target)
                kind = Conv if isinstance(module, SparseConv2d) else Linear
                self._special[node] = kind(module, numbers[id(module)])
        for node in self.graph.nodes:
            if overwritten(node, modules, own=self._special):
                raise InputError(
                    f"the sparse engine cannot follow {type(body).__name__}: '{node.name}' works "
                    "in place on what is read elsewhere, too (not in place, it can)"
                )
        self._modules = modules
        self._read_last = last_readers(self.graph)

    def __reduce__(self) -> tuple:
        return Plan, (self.body,)  # a copy follows the copied body

    def geometry(self, image: tuple[int, int, int], storage: torch.dtype) -> list[Geometry]:
        """Shapes of all sparse layers, in their order, for images (C, H, W)."""
        found: dict[int, Geometry] = {}

        def shape_only(step: Conv | Linear | Norm, x: Tensor) -> Tensor:
            if isinstance(step, Norm):
                return F.max_pool2d(x, 2) if step.pool else x
            g = geometry_of(step.module, x.shape, storage)
            if bytes(found.setdefault(step.number, g)) != bytes(g):
                raise InputError(
                    f"sparse layer {step.number + 1} is used for maps of several shapes, now of "
                    f"{tuple(x.shape[2:])}. Allowed in the sparse engine: one shape for each layer."
                )
            maps = () if isinstance(step, Linear) else (g.out_height, g.out_width)
            return x.new_zeros(len(x), g.outputs, *maps)

        def undisturbed(module: nn.Module) -> nn.Module:
            return copy.deepcopy(module).eval()

        with torch.no_grad():
            self.walk(torch.zeros(1, *image), shape_only, undisturbed)
        for number, module in enumerate(self.sparse):
            if number not in found:  # a layer that is not used has maps of the size of its kernel
                _, *kernel, inputs = module.storage_shape
                found[number] = geometry_of(module, torch.Size((1, inputs, *kernel)), storage)
        return [found[number] for number in range(len(self.sparse))]

    def __call__(self, x: Tensor, weights: Weights, storage: torch.dtype) -> Tensor:
        """Logits (B, classes) in float32."""
        return self.walk(x, lambda step, x: step(x, weights, storage))

    def walk(
        self,
        x: Tensor,
        run: Callable[[Any, Any], Any],
        called: Callable[[nn.Module], nn.Module] = lambda module: module,
    ) -> Tensor:
        """Every operation in turn: the engine's by `run`, the modules of others by `called`."""
        held: dict[fx.Node, Any] = {}

        def value(argument: Any) -> Any:
            return held[argument] if isinstance(argument, fx.Node) else argument

        for node in self.graph.nodes:
            if node.op == "placeholder":
                held[node] = x
            elif node.op == "output":
                return plain(value(node.args[0]))
            elif node in self._absorbed:
                held[node] = value(node.args[0])
            elif node in self._special:
                held[node] = run(self._special[node], value(node.args[0]))
            else:
                held[node] = self._ordinary(node, held, called)
            for argument in self.read_last(node):  # nothing is held longer than it is needed
                del held[argument]
        raise AssertionError("a graph ends with its output")

    def norms(self) -> list[Norm]:
        """Every BatchNorm that the engine computes."""
        return [step for step in self._special.values() if isinstance(step, Norm)]

    def norm_after(self, conv: Conv) -> Norm | None:
        """The BatchNorm that alone reads this convolution."""
        return next((norm for norm in self.norms() if norm.follows is conv), None)

    def relu_after(self, conv: Conv) -> bool:
        """Whether a ReLU follows that BatchNorm at once."""
        norm = self.norm_after(conv)
        return norm is not None and norm.relu

    def step(self, node: fx.Node) -> Conv | Linear | Norm | None:
        """What the engine does for a node; None for what it does not do."""
        return self._special.get(node)

    def read_last(self, node: fx.Node) -> list[fx.Node]:
        """Whose activations it is the last one to read."""
        return self._read_last[node]

    def is_absorbed(self, node: fx.Node) -> bool:
        """Whether an operation before it does its work, too."""
        return node in self._absorbed

    def relu_follows(self, node: fx.Node) -> fx.Node | None:
        """The ReLU that alone reads a node."""
        after = only_user(node)
        return after if after is not None and is_relu(after, self._modules) else None

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls."""
        return self._modules[str(node.target)] if node.op == "call_module" else None

    def _ordinary(
        self,
        node: fx.Node,
        held: dict[fx.Node, Any],
        called: Callable[[nn.Module], nn.Module],
    ) -> Any:
        """An operation that is not sparse: in blocked form if it treats all lanes alike."""
        target: Any = node.target
        args: Any = [held[a] if isinstance(a, fx.Node) else a for a in node.args]
        if args and all(isinstance(a, Blocked) for a in args):
            if is_sum(node):
                return Blocked(args[0].data + args[1].data, args[0].images)
            if is_relu(node, self._modules):
                return Blocked(F.relu(args[0].data), args[0].images)
        args, kwargs = fx.node.map_arg(
            (list(node.args), node.kwargs), lambda each: plain(held[each])
        )
        if node.op == "call_module":
            return called(self._modules[target])(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        if node.op == "get_attr":
            return operator.attrgetter(target)(self.body)
        return target(*args, **kwargs)
