"""`l2`: each re-connection goes next to a random living weight (thesis, "structured")."""

from __future__ import annotations

import torch
from torch import Tensor

from rewire.connectivity.choice import choose
from rewire.connectivity.nearest import nearest_unconnected
from rewire.connectivity.strategies.base import STRATEGIES, StrategyOptions
from rewire.connectivity.strategies.random import random
from rewire.models.layout import SparseLayer


@STRATEGIES.register("l2")
def l2(
    layer: SparseLayer,
    theta: Tensor,
    connected: Tensor,
    n: int,
    *,
    options: StrategyOptions,
    generator: torch.Generator,
) -> Tensor:
    """Sample n connected entries uniformly; each re-connects its nearest unconnected entry.

    A layer without any connection has no neighbourhood: there the entries are uniform.
    """
    if len(connected) == 0:
        return random(layer, theta, connected, n, options=options, generator=generator)
    sources = choose(connected, n, generator=generator)
    return nearest_unconnected(
        sources, theta, layer.shape, n=n, search=options.search, generator=generator
    )
