"""`l2`: each re-connection goes next to a random living weight (thesis, "structured")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewire.connectivity.random_subset import choose
from rewire.connectivity.strategies.base import STRATEGIES, Demand, StrategyOptions
from rewire.connectivity.strategies.neighbours import next_to
from rewire.models.layout import SparseLayer


@STRATEGIES.register("l2")
def l2(
    theta: Tensor,
    layers: Sequence[SparseLayer],
    demands: Sequence[Demand],
    *,
    options: StrategyOptions,
    generator: torch.Generator,
) -> Tensor:
    """Sample n connected entries uniformly; each re-connects its nearest unconnected entry."""

    def sources(connected: Tensor, n: int) -> Tensor:
        return choose(connected, n, generator=generator)

    return next_to(sources, theta, layers, demands, options=options, generator=generator)
