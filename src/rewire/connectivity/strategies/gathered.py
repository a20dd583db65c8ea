"""`gathered`: re-connections fall on a layer's strongest vectors alone (ours).

Goes beyond the thesis: as many vectors stay open as hold the layer's connections if they are so
many times as dense as the network; the others get no new weights, and lose those that training does
not need. Layers that are denser than that, the first and the last ones, stay open as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from rewire.connectivity.strategies.base import Demand
from rewire.connectivity.strategies.into_vectors import Filling, grow_into
from rewire.models.layout import SparseLayer
from rewire.registry import STRATEGIES


@STRATEGIES.register("gathered")
def gathered(
    theta: Tensor,
    layers: Sequence[SparseLayer],
    demands: Sequence[Demand],
    *,
    generator: torch.Generator,
    crowding: Annotated[float, Field(ge=1)] = 1.7,
) -> Tensor:
    """Draw n of a layer's open vectors uniformly; in each a uniform unconnected entry.

    Open are those with the largest sums of θ, as many as hold the layer's connections at `crowding`
    times the density of the network. Full vectors are drawn again among the others; if all open
    ones are full, the rest is uniform over the layer.

    Args:
        crowding: how dense open vectors are, times the network; of a layer as dense as the network
            about 1 - 1/crowding of the vectors become empty.
    """

    def chance(filling: Filling) -> Tensor:
        strength = torch.zeros_like(filling.living, dtype=torch.float64)
        weights = theta.index_select(0, filling.connected).double()
        strength.view(-1).index_add_(0, filling.place, weights)
        chances = torch.zeros_like(strength)
        for row, opened, demand in zip(strength, chances, demands, strict=True):
            layer = demand.layer
            each = min(1.0, crowding * demand.density) * layer.fan_out
            number = math.ceil(len(demand.connected) / each) or layer.vectors
            order = row[: layer.vectors].sort(descending=True, stable=True).indices
            opened.index_fill_(0, order[:number], 1.0)
        return chances

    return grow_into(chance, theta, demands, generator=generator)
