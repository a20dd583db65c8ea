"""`l2`: each re-connection goes next to a random living weight (thesis, "structured")."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from rewire.connectivity.nearest import Search
from rewire.connectivity.random_subset import choose_from_each
from rewire.connectivity.strategies.base import Demand
from rewire.connectivity.strategies.neighbours import next_to
from rewire.models.layout import SparseLayer
from rewire.options import Metric, Ties
from rewire.registry import STRATEGIES


@STRATEGIES.register("l2")
def l2(
    theta: Tensor,
    layers: Sequence[SparseLayer],
    demands: Sequence[Demand],
    *,
    generator: torch.Generator,
    metric: Metric = "euclidean",
    ties: Ties = "random",
) -> Tensor:
    """Sample n connected entries uniformly; each re-connects its nearest unconnected entry.

    Args:
        metric: what is near; eq3 is the formula that the thesis prints, and matrix takes a kernel
            as a matrix of outputs × vectors.
        ties: which of several equally near entries.
    """

    sources = partial(choose_from_each, generator=generator)
    search = Search(metric, ties)
    return next_to(sources, theta, layers, demands, search=search, generator=generator)
