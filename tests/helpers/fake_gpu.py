"""A GPU that is not there: shapes and devices without numbers, so nothing can be waited for.

Inside `fake_gpu()` tensors may be made on `cuda`. They hold no values, so whatever would have to
bring one to the host (`.item()`, `nonzero`, a branch on a tensor, a boolean index, a copy) raises,
and so does an operation on tensors of two devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class SynchronisedError(Exception):
    """Something would have waited for the device."""


class _Python(TorchFunctionMode):
    """Python's own indexing and `~` ask the driver for the device: here they are dispatched."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__invert__:
            return args[0].logical_not()
        if func is torch.Tensor.__getitem__:
            return _indexed(*args)
        return func(*args, **(kwargs or {}))


def _indexed(x, index):
    index = index if isinstance(index, tuple) else (index,)
    dim, tensors = 0, []
    for item in index:
        if isinstance(item, torch.Tensor):
            if item.dtype == torch.bool:
                raise SynchronisedError("boolean index")
            tensors += [None] * (dim - len(tensors)) + [item]
        elif item is None:
            x = x.unsqueeze(dim)
        elif isinstance(item, slice):
            x = torch.ops.aten.slice.Tensor(x, dim, item.start, item.stop, item.step or 1)
        else:
            x, dim = x.select(dim, item), dim - 1
        dim += 1
    return torch.ops.aten.index.Tensor(x, tensors) if tensors else x


class NoCopies(TorchDispatchMode):
    """Refuses copies between the devices: without pinned memory each waits for all work before."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[0] if func is torch.ops.aten._to_copy.default else args[1]
            if source.device.type != result.device.type:
                raise SynchronisedError(f"copy from {source.device} to {result.device}")
        return result


class NoWaiting(TorchDispatchMode):
    """Refuses what waits for a GPU or has a shape that the host must know, on any device."""

    WAITS = frozenset(
        {
            "_local_scalar_dense",
            "_unique",
            "_unique2",
            "bincount",
            "equal",
            "is_nonzero",
            "masked_select",
            "nonzero",
            "repeat_interleave",
            "unique_consecutive",
            "unique_dim",
        }
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        boolean = name in ("index", "index_put", "index_put_") and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if name in self.WAITS or boolean:
            raise SynchronisedError(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Values that no machine computes; CUDA tensors that no driver knows."""
    with FakeTensorMode(), _Python():
        yield
