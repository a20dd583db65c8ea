"""Which connected weight stands where: the index that the kernels read, for one connectivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewire.engine.library import Geometry, kernels, pointer
from rewire.models.layout import SparseLayer, connected_per_layer


@dataclass(frozen=True)
class LayerIndex:
    """The part of one layer; arrays are views of those of the whole index.

    Attributes:
        geometry: shape of the layer and of its maps.
        span: of its weights among those of all layers, in storage order.
        forward_groups, backward_groups: where each (channel, tap) begins in the entries.
        forward, backward: (n, 2) int32, an entry's place and the bits of its weight.
        forward_order, backward_order: (n,) int32, entry → position in storage order.
        changes: how often the weights of the whole index were set, [number].
    """

    geometry: Geometry
    span: slice
    forward_groups: Tensor
    forward: Tensor
    forward_order: Tensor
    backward_groups: Tensor
    backward: Tensor
    backward_order: Tensor
    changes: list[int]

    @property
    def size(self) -> int:
        """Connected weights."""
        return self.span.stop - self.span.start

    def backward_with(self, values: Tensor) -> Tensor:
        """`backward` with other weights (n,), in storage order."""
        entries = self.backward.clone()
        entries[:, 1] = values.detach()[self.backward_order.long()].view(torch.int32)
        return entries


class Index:
    """Connected weights of all layers by output and by input.

    Args:
        connected: (K,) sorted flat indices of the connected weights.
        layers: of the network, in order.
        geometry: of each layer.
    """

    def __init__(
        self, connected: Tensor, layers: tuple[SparseLayer, ...], geometry: Sequence[Geometry]
    ) -> None:
        self.connected = connected
        counts = connected_per_layer(connected, layers)
        self.bounds = torch.zeros(len(layers) + 1, dtype=torch.int64)
        torch.cumsum(counts, 0, out=self.bounds[1:])
        self._order = [torch.empty(len(connected), dtype=torch.int32) for _ in range(2)]
        self._entries = [torch.empty(len(connected), 2, dtype=torch.int32) for _ in range(2)]
        sizes = [
            [channels * g.kernel**2 + 1 for g, channels in zip(geometry, side, strict=True)]
            for side in ([g.outputs for g in geometry], [g.inputs for g in geometry])
        ]
        groups = [torch.empty(sum(each), dtype=torch.int32) for each in sizes]
        starts = [torch.tensor([0, *each[:-1]]).cumsum(0) for each in sizes]
        first = torch.tensor([layer.offset for layer in layers])
        kernels().rewire_build_index(
            (Geometry * len(layers))(*geometry),
            len(layers),
            *map(pointer, (connected, self.bounds, first)),
            *map(pointer, (starts[0], groups[0], self._entries[0], self._order[0])),
            *map(pointer, (starts[1], groups[1], self._entries[1], self._order[1])),
            torch.get_num_threads(),
        )
        bounds, self._changes = self.bounds.tolist(), [0]
        self.layers = [
            LayerIndex(
                geometry=g,
                span=slice(start, end),
                forward_groups=ahead,
                forward=self._entries[0][start:end],
                forward_order=self._order[0][start:end],
                backward_groups=back,
                backward=self._entries[1][start:end],
                backward_order=self._order[1][start:end],
                changes=self._changes,
            )
            for g, start, end, ahead, back in zip(
                geometry,
                bounds[:-1],
                bounds[1:],
                groups[0].split(sizes[0]),
                groups[1].split(sizes[1]),
                strict=True,
            )
        ]

    def set_weights(self, values: Tensor) -> None:
        """Use these weights (K,) float32, in storage order, from here on."""
        kernels().rewire_set_weights(
            len(self.layers),
            *map(pointer, (self.bounds, values)),
            *map(pointer, (self._entries[0], self._order[0])),
            *map(pointer, (self._entries[1], self._order[1])),
            torch.get_num_threads(),
        )
        self._changes[0] += 1
