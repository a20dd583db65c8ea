"""Coordinates of entries of the flat parameter in the index spaces of their layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from rewire.models.layout import SparseLayer


@dataclass(frozen=True)
class Places:
    """Index spaces of all layers, brought to D axes by axes of size 1 behind the first.

    A dense layer (out, in) beside convolutions thus is (out, 1, 1, in).

    Attributes:
        layers: in the order of the flat parameter.
        sizes: (D, L) size of each axis of each layer.
        strides: (D, L) distance of neighbours along it in the flat parameter.
        starts, ends: (L,) where each layer begins and ends.
        vectors: (L,) its number of lowest-dimensional vectors.
        largest: D sizes, the largest of each axis.
        largest_layer: number of entries of the largest layer.
    """

    layers: tuple[SparseLayer, ...]
    sizes: Tensor
    strides: Tensor
    starts: Tensor
    ends: Tensor
    vectors: Tensor
    largest: tuple[int, ...]
    largest_layer: int

    @staticmethod
    @lru_cache(maxsize=16)
    def of(
        layers: tuple[SparseLayer, ...], device: torch.device, *, matrices: bool = False
    ) -> Places:
        """The tables of `layers` on `device`; as `matrices` all have two axes, (out, vectors)."""
        if matrices:
            layers = tuple(replace(x, shape=(x.fan_out, x.vectors)) for x in layers)
        axes = max(len(layer.shape) for layer in layers)
        shapes = [
            layer.shape[:1] + (1,) * (axes - len(layer.shape)) + layer.shape[1:] for layer in layers
        ]
        strides = [[math.prod(shape[axis + 1 :]) for axis in range(axes)] for shape in shapes]
        return Places(
            layers,
            torch.tensor(shapes, device=device).t().contiguous(),
            torch.tensor(strides, device=device).t().contiguous(),
            torch.tensor([layer.span.start for layer in layers], device=device),
            torch.tensor([layer.span.stop for layer in layers], device=device),
            torch.tensor([layer.vectors for layer in layers], device=device),
            tuple(max(sizes) for sizes in zip(*shapes, strict=True)),
            max(layer.size for layer in layers),
        )

    def layer_of(self, entries: Tensor) -> Tensor:
        """Number of the layer of each entry, in the shape of `entries`."""
        return torch.bucketize(entries, self.ends, right=True)

    def coordinates(self, entries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """D coordinates of each entry, sizes and strides of its layer's axes, all (D, ·)."""
        layer = self.layer_of(entries)
        sizes, strides = self.sizes[:, layer], self.strides[:, layer]
        return (entries - self.starts[layer]) // strides % sizes, sizes, strides

    def vector_of(self, entries: Tensor) -> Tensor:
        """Number of the lowest-dimensional vector of each entry inside its layer."""
        layer = self.layer_of(entries)
        return (entries - self.starts[layer]) % self.vectors[layer]

    def reference_order(self, entries: Tensor) -> Tensor:
        """Position of each entry inside its layer if the outputs were the innermost axis.

        So the reference's code stores it, (kernel row, kernel column, in, out) or (in, out): the
        lowest-dimensional vectors lie one after the other.
        """
        layer = self.layer_of(entries)
        inside, vectors = entries - self.starts[layer], self.vectors[layer]
        return inside % vectors * self.sizes[0, layer] + inside // vectors
