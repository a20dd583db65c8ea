"""`weighted`: re-connections go next to the largest living weights (thesis, "weight-based")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewire.connectivity.index_sets import largest
from rewire.connectivity.strategies.base import STRATEGIES, Demand, StrategyOptions
from rewire.connectivity.strategies.neighbours import next_to
from rewire.models.layout import SparseLayer


@STRATEGIES.register("weighted")
def weighted(
    theta: Tensor,
    layers: Sequence[SparseLayer],
    demands: Sequence[Demand],
    *,
    options: StrategyOptions,
    generator: torch.Generator,
) -> Tensor:
    """The n entries with the largest θ, in that order, each re-connect their nearest one."""

    def sources(connected: Tensor, n: int) -> Tensor:
        return connected[largest(theta.index_select(0, connected), n)]

    return next_to(sources, theta, layers, demands, options=options, generator=generator)
