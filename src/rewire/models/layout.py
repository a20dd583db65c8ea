"""Where each sparse layer lies in a network's flat parameter vector."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from rewire.errors import InputError


@dataclass(frozen=True)
class SparseLayer:
    """One layer's slice of the flat θ.

    Attributes:
        name: the layer's name in its network, e.g. `conv3` or `dense1`.
        shape: index space in storage order: (out, kernel row, kernel column, in) for a
            convolution, (out, in) for a dense layer. A convolution is stored channels-last, the
            layout in which it runs fastest.
        offset: position of its first entry in the flat vector.
    """

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def fan_out(self) -> int:
        return self.shape[0]

    @property
    def vectors(self) -> int:
        """Lowest-dimensional vectors: the weights that leave one input position.

        As a (fan_out, vectors) matrix each column is one of them, so `index % vectors` names the
        vector of a weight. It is also the dense layer's fan-in, used for the initialisation.
        """
        return self.size // self.fan_out

    @property
    def span(self) -> slice:
        return slice(self.offset, self.offset + self.size)

    def of(self, flat: Tensor) -> Tensor:
        """View of this layer's entries of `flat` (N,), still flat: (size,)."""
        return flat[self.span]

    def as_weight(self, entries: Tensor) -> Tensor:
        """View of flat `entries` (size,) as PyTorch's weight: (out, in, kh, kw) or (out, in)."""
        weight = entries.view(self.shape)
        return weight.permute(0, 3, 1, 2) if len(self.shape) == 4 else weight

    def as_entries(self, weight: Tensor) -> Tensor:
        """Inverse of `as_weight`: flat (size,), a view where the memory layout allows."""
        stored = weight.permute(0, 2, 3, 1) if weight.ndim == 4 else weight
        return stored.reshape(-1)


def lay_out(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> tuple[SparseLayer, ...]:
    """Consecutive layers of one flat vector from (name, storage shape) pairs in network order."""
    layers: list[SparseLayer] = []
    offset = 0
    for name, shape in shapes:
        layers.append(SparseLayer(name, tuple(shape), offset))
        offset += layers[-1].size
    return tuple(layers)


def total_size(layers: Iterable[SparseLayer]) -> int:
    """Number of weights of all layers."""
    return sum(layer.size for layer in layers)


def connected_per_layer(connected: Tensor, layers: tuple[SparseLayer, ...]) -> Tensor:
    """Connected entries of each layer (L,), from sorted flat indices `connected` (K,)."""
    return torch.searchsorted(connected, _bounds(layers, connected.device)).diff()


@lru_cache(maxsize=16)
def _bounds(layers: tuple[SparseLayer, ...], device: torch.device) -> Tensor:
    """Where each layer begins, and where the last one ends (L + 1,)."""
    offsets = [layer.offset for layer in layers]
    return torch.tensor([*offsets, total_size(layers)], device=device)


def check_sparsity(sparsity: float, *, dense: bool = False) -> None:
    """Raise `InputError` for a sparsity outside (0, 1), or of a dense network that is not 0."""
    if dense:
        if sparsity != 0:
            raise InputError(f"sparsity is {sparsity}. Allowed for a dense network: 0.")
    elif not (isinstance(sparsity, int | float) and 0 < sparsity < 1):
        raise InputError(f"sparsity is {sparsity}. Allowed: above 0 and below 1, e.g. 0.99.")


def connection_budget(total: int, sparsity: float) -> int:
    """K = ⌊(1 − sparsity)·total⌋, the number of connected weights (thesis, section 2).

    Computed exactly from the decimal that was written, so 0.9 of 10 leaves 1 and never 0.

    Raises:
        InputError: if sparsity lies outside (0, 1) or leaves no connection.
    """
    check_sparsity(sparsity)
    budget = math.floor((1 - Fraction(str(sparsity))) * total)
    if budget == 0:
        raise InputError(f"sparsity {sparsity} leaves none of the network's {total} weights")
    return budget
