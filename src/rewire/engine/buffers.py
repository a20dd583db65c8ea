"""Memory for activations: on huge pages, and handed out again instead of returned.

A training step needs the same few hundred megabytes every time. Given back to the system, they
would come again page by page, each filled with zeros first.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from rewire.engine.library import kernels

_NUMPY = {torch.float32: np.float32, torch.bfloat16: np.int16, torch.int32: np.int32}
KEPT = 1.5
"""Memory that is kept, as a multiple of the most that was lent at once: batches of other sizes need
other pieces, and the last batches of an attack have every size."""
_free: dict[int, list[int]] = defaultdict(list)  # size → addresses of what nothing uses
_sizes: dict[int, int] = {}  # address → size of everything
_most = 0  # bytes that were lent at once, as far as new memory was asked for


class _Buffer:
    """Memory that an array borrows; back in the pool when the array is gone."""

    __array_interface__: dict[str, object]

    def __init__(self, size: int):
        # A few sizes serve all: at most an eighth is wasted.
        step = 1 << max(12, size.bit_length() - 4)
        self.size = -(-size // step) * step
        try:  # without asking first: another thread might take the last one in between
            self.address = _free[self.size].pop()
        except IndexError:
            self.address = self._new()

    def _new(self) -> int:
        global _most
        idle = sum(size * len(addresses) for size, addresses in list(_free.items()))
        lent = sum(list(_sizes.values())) - idle + self.size
        _most = max(_most, lent)
        if lent + idle > KEPT * _most:
            give_back()
        address = kernels().rewire_allocate(self.size)
        if not address:
            raise MemoryError(f"no memory for {self.size:,} bytes of activations")
        _sizes[address] = self.size
        return address

    def __del__(self) -> None:
        if hasattr(self, "address"):
            _free[self.size].append(self.address)


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised contiguous CPU tensor; float32, bfloat16 or int32."""
    kind = np.dtype(_NUMPY[dtype])
    count = math.prod(shape)
    if not count:
        return torch.empty(shape, dtype=dtype)
    buffer = _Buffer(count * kind.itemsize)
    buffer.__array_interface__ = {
        "data": (buffer.address, False),
        "shape": shape,
        "typestr": kind.str,
        "version": 3,
    }
    return torch.from_numpy(np.asarray(buffer)).view(dtype)


def give_back() -> None:
    """Return all memory that nothing uses to the system."""
    for addresses in list(_free.values()):
        while addresses:
            address = addresses.pop()
            del _sizes[address]
            kernels().rewire_free(address)
