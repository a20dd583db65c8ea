"""The index of inference: where vectors are well filled, four outputs share one load of an input.

A sparse product reads its input from the cache once for every connected weight. Four outputs next
to one another that (nearly) all read it need it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewire.engine.index import Index, LayerIndex
from rewire.engine.library import Geometry
from rewire.models.layout import SparseLayer, connected_per_layer, lay_out

OUTPUTS = 4
"""Of a quad; `Quad` in native/index.h."""
FEWEST = 3
"""Connected weights that make a quad."""
SHARE = 0.5
"""Of a layer's weights that its quads have to hold: for the others it is gone through again."""


@dataclass(frozen=True)
class SplitIndex:
    """A layer's weights, alone and by quads.

    Attributes:
        singles: index of the weights that are summed alone.
        quad_groups: where each (four outputs, tap) begins in the quads; None without any.
        quads: (n, 5) int32, a quad's place and the bits of its four weights.
    """

    singles: LayerIndex
    quad_groups: Tensor | None = None
    quads: Tensor | None = None


def split_index(
    connected: Tensor,
    values: Tensor,
    layers: tuple[SparseLayer, ...],
    geometry: Sequence[Geometry],
) -> list[SplitIndex]:
    """Index of all layers for inference.

    Args:
        connected: (K,) sorted flat indices of the connected weights.
        values: (K,) float32, their weights.
        layers, geometry: of the network, in order.
    """
    counts = connected_per_layer(connected, layers).tolist()
    parts = zip(layers, connected.split(counts), values.split(counts), strict=True)
    found = [quads_of(layer, entries - layer.offset, own) for layer, entries, own in parts]
    alone = torch.cat([quads.alone for quads in found])
    singles = Index(connected[alone], layers, geometry)
    singles.set_weights(values[alone])
    # Quads lie in a layer as single weights would in one of a quarter of the outputs.
    quarters = lay_out((x.name, (x.fan_out // OUTPUTS, *x.shape[1:])) for x in layers)
    entries = [quads.entries + x.offset for quads, x in zip(found, quarters, strict=True)]
    places = Index(torch.cat(entries), quarters, [_quarter(g) for g in geometry])
    return [
        SplitIndex(single, place.forward_groups, _with_weights(place, quads.weights))
        if len(quads.entries)
        else SplitIndex(single)
        for single, place, quads in zip(singles.layers, places.layers, found, strict=True)
    ]


@dataclass(frozen=True)
class Quads:
    """The quads of a layer.

    Attributes:
        entries: (n,) sorted places in a layer of a quarter of the outputs.
        weights: (n, 4), zeros where there is no connection.
        alone: bool (C,), the connected weights that are in none.
    """

    entries: Tensor
    weights: Tensor
    alone: Tensor


def quads_of(layer: SparseLayer, entries: Tensor, values: Tensor) -> Quads:
    """Four outputs that share an input in `FEWEST` connections at least, if it is worth it.

    Args:
        entries, values: (C,) connected entries inside the layer, sorted, and their weights.
    """
    output, vector = entries // layer.vectors, entries % layer.vectors
    key, place, count = torch.unique(
        output // OUTPUTS * layer.vectors + vector, return_inverse=True, return_counts=True
    )
    shared = (count >= FEWEST) & (key < layer.fan_out // OUTPUTS * layer.vectors)
    if count[shared].sum() < SHARE * len(entries):
        shared = torch.zeros_like(shared)
    inside = shared[place]
    weights = torch.zeros(int(shared.sum()), OUTPUTS)
    number = shared.cumsum(0) - 1
    weights[number[place[inside]], output[inside] % OUTPUTS] = values[inside]
    return Quads(key[shared], weights, ~inside)


def _with_weights(places: LayerIndex, weights: Tensor) -> Tensor:
    own = weights[places.forward_order.long()].view(torch.int32)
    return torch.cat([places.forward[:, :1], own], dim=1)


def _quarter(g: Geometry) -> Geometry:
    return Geometry(
        g.inputs, g.outputs // OUTPUTS, g.height, g.width, g.kernel, g.stride, g.padding,
        g.out_height, g.out_width, g.lanes,
    )  # fmt: skip
