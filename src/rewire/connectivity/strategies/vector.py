"""`vector`: re-connections gather in vectors that are already well connected (ours).

Goes beyond the thesis: a vector is drawn with probability proportional to (its connections)^γ, so
rich vectors fill up and poor ones die out, towards the ideal of the thesis's Figure 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from rewire.connectivity.strategies.base import Demand
from rewire.connectivity.strategies.into_vectors import Filling, grow_into
from rewire.models.layout import SparseLayer
from rewire.registry import STRATEGIES


@STRATEGIES.register("vector")
def vector(
    theta: Tensor,
    layers: Sequence[SparseLayer],
    demands: Sequence[Demand],
    *,
    generator: torch.Generator,
    gamma: Annotated[float, Field(ge=0, le=10)] = 2.0,
) -> Tensor:
    """Draw n vectors with probability ∝ (connections)^γ; in each a uniform unconnected entry.

    Draws beyond a vector's unconnected entries are drawn again among the others; if all connected
    vectors of a layer are full, the rest is uniform over the layer.

    Args:
        gamma: exponent γ; 0 is uniform over the connected vectors.
    """

    def chance(filling: Filling) -> Tensor:
        return torch.where(filling.living > 0, filling.living.double() ** gamma, 0.0)

    return grow_into(chance, theta, demands, generator=generator)
