"""`weighted`: re-connections go next to the largest living weights (thesis, "weight-based")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewire.connectivity.index_sets import largest_of_each
from rewire.connectivity.nearest import Search
from rewire.connectivity.strategies.base import Demand
from rewire.connectivity.strategies.neighbours import next_to
from rewire.models.layout import SparseLayer
from rewire.options import Metric, Ties
from rewire.registry import STRATEGIES


@STRATEGIES.register("weighted")
def weighted(
    theta: Tensor,
    layers: Sequence[SparseLayer],
    demands: Sequence[Demand],
    *,
    generator: torch.Generator,
    metric: Metric = "euclidean",
    ties: Ties = "random",
) -> Tensor:
    """The n entries with the largest θ, in that order, each re-connect their nearest one.

    Args:
        metric: what is near; eq3 is the formula that the thesis prints, and matrix takes a kernel
            as a matrix of outputs × vectors.
        ties: which of several equally near entries.
    """

    def sources(connected: Sequence[Tensor], numbers: Sequence[int]) -> list[Tensor]:
        return largest_of_each(connected, numbers, theta)

    search = Search(metric, ties)
    return next_to(sources, theta, layers, demands, search=search, generator=generator)
