"""The graph of a network's body, and what its nodes are."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from rewire.errors import InputError
from rewire.models.norm import BatchNorm2d
from rewire.models.sparse import SparseConv2d, SparseLinear

_IN_PLACE = {
    f"__i{name}__": getattr(operator, f"i{name}")
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
}
"""What Python calls for `x += y` and its kind → the function of the same effect."""

_HOOKS = "forward_pre_hook", "forward_hook", "backward_pre_hook", "backward_hook"
"""Kinds that a module keeps in `_KINDs`."""


class _Proxy(fx.Proxy):
    """Records `x += y` as what it is; fx takes it for x + y, which leaves x as it was."""


def _recorded(function: Callable[[Any, Any], Any]) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    def method(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _name, _function in _IN_PLACE.items():
    setattr(_Proxy, _name, _recorded(_function))


class _Tracer(fx.Tracer):
    """Sees whole layers, ours like PyTorch's, and the operations between them."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return not isinstance(module, nn.Sequential) and not any(True for _ in module.children())


def traced(body: nn.Module, *, other_mode: bool = False) -> fx.Graph:
    """The operations of `body`, its mode (or the opposite one) being as it is."""
    modes = [(module, module.training) for module in body.modules()]
    try:
        for module, training in modes:
            module.training = training != other_mode
        return _Tracer().trace(body)
    except (TypeError, fx.proxy.TraceError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"the sparse engine cannot follow {type(body).__name__}: {error}"
        ) from error
    finally:
        for module, training in modes:
            module.training = training


def last_readers(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """Of each node, those of its inputs that none behind it reads."""
    last: dict[fx.Node, list[fx.Node]] = {}
    behind: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        last[node] = [each for each in node.all_input_nodes if each not in behind]
        behind.update(last[node])
    return last


def only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def check_layer(module: nn.Module, name: str) -> None:
    """Raise `InputError` if a sparse layer computes something of its own."""
    if not any(_computes(module, kind) for kind in (SparseConv2d, SparseLinear)):
        raise InputError(
            f"the sparse engine cannot follow the layer '{name}': {type(module).__name__} has a "
            "forward pass of its own"
        )


def check_hooks(body: nn.Module) -> None:
    """Raise `InputError` if a module has a hook around its passes: the engine calls few of them."""
    for name, module in body.named_modules():
        for kind in _HOOKS:
            if getattr(module, f"_{kind}s"):
                raise InputError(
                    f"the sparse engine cannot follow '{name or type(module).__name__}': it has a "
                    f"{kind.replace('_', '-')}, which only passes by modules call (those of the "
                    "engine 'dense', or inside `with model.by_modules()`)"
                )


def is_norm(module: nn.Module) -> bool:
    """Whether it is a BatchNorm as the engine has it."""
    return (
        isinstance(module, nn.BatchNorm2d)
        and (_computes(module, BatchNorm2d) or _computes(module, nn.BatchNorm2d))
        and module.affine
        and module.track_running_stats
        and module.momentum is not None
    )


def is_sum(node: fx.Node) -> bool:
    """Whether it adds two activations."""
    sums = operator.add, operator.iadd, torch.add
    adds = node.op == "call_function" and node.target in sums
    return adds and not node.kwargs


def is_relu(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return _computes(modules[str(node.target)], nn.ReLU)
    return node.op == "call_function" and node.target in (F.relu, torch.relu)


def is_pool(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Whether it is the 2×2 max-pool that the engine has."""
    pool = modules[str(node.target)] if node.op == "call_module" else None
    if pool is None or not _computes(pool, nn.MaxPool2d):
        return False
    assert isinstance(pool, nn.MaxPool2d)
    sizes = pool.kernel_size, pool.stride, pool.padding, pool.dilation
    return sizes in ((2, 2, 0, 1), ((2, 2), (2, 2), (0, 0), (1, 1))) and not (
        pool.ceil_mode or pool.return_indices
    )


def overwritten(
    node: fx.Node, modules: Mapping[str, nn.Module], *, own: Collection[fx.Node]
) -> bool:
    """Whether a node writes over a tensor that another one may read, too.

    What it is given may be a view of what the node before was given, and so on, back to a result
    that has memory of its own.

    Args:
        node: of the graph.
        modules: by name.
        own: nodes whose results have memory of their own; sums have, too.
    """
    written = node.args[0] if _is_in_place(node, modules) and node.args else None
    while isinstance(written, fx.Node):
        if len(written.users) > 1:
            return True
        if written in own or is_sum(written):
            return False
        written = next(iter(written.all_input_nodes), None)
    return False


def _computes(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether the module's forward pass is that of `kind`, also in a subclass."""
    return isinstance(module, kind) and type(module).forward is kind.forward


def _is_in_place(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    target = node.target
    if node.op == "call_module":
        return bool(getattr(modules[str(target)], "inplace", False))
    if node.op == "call_method":
        return str(target).endswith("_") and not str(target).endswith("__")
    if node.op != "call_function" or not callable(target):
        return False
    if target in _IN_PLACE.values() or getattr(target, "__name__", "").endswith("_"):
        return True
    try:
        given = inspect.signature(target).bind(*node.args, **node.kwargs).arguments
    except (TypeError, ValueError):  # built-in functions without a signature
        given = node.kwargs
    return bool(given.get("inplace", False))
