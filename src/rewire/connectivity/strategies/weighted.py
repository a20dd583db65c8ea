"""`weighted`: re-connections go next to the largest living weights (thesis, "weight-based")."""

from __future__ import annotations

import torch
from torch import Tensor

from rewire.connectivity.nearest import nearest_unconnected
from rewire.connectivity.strategies.base import STRATEGIES, StrategyOptions
from rewire.connectivity.strategies.random import random
from rewire.models.layout import SparseLayer


@STRATEGIES.register("weighted")
def weighted(
    layer: SparseLayer,
    theta: Tensor,
    connected: Tensor,
    n: int,
    *,
    options: StrategyOptions,
    generator: torch.Generator,
) -> Tensor:
    """The n entries with the largest θ, in that order, each re-connect their nearest one.

    A layer without any connection has no largest weight: there the entries are uniform.
    """
    if len(connected) == 0:
        return random(layer, theta, connected, n, options=options, generator=generator)
    largest = theta[connected].topk(min(n, len(connected))).indices
    return nearest_unconnected(
        connected[largest], theta, layer.shape, n=n, search=options.search, generator=generator
    )
