"""`vector`: re-connections gather in vectors that are already well connected (ours).

Goes beyond the thesis: a vector is drawn with probability proportional to (its connections)^γ, so
rich vectors fill up and poor ones die out, towards the ideal of the thesis's Figure 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rewire.connectivity.strategies.base import STRATEGIES, StrategyOptions
from rewire.connectivity.strategies.random import random
from rewire.models.layout import SparseLayer


@STRATEGIES.register("vector")
def vector(
    layer: SparseLayer,
    theta: Tensor,
    connected: Tensor,
    n: int,
    *,
    options: StrategyOptions,
    generator: torch.Generator,
) -> Tensor:
    """Draw n vectors with probability ∝ (connections)^γ; in each a uniform unconnected entry.

    Draws beyond a vector's unconnected entries are drawn again among the others; if all connected
    vectors are full, the rest is uniform over the layer.
    """
    living = torch.bincount(connected % layer.vectors, minlength=layer.vectors)
    room = layer.fan_out - living
    weights = torch.where(living > 0, living.double() ** options.gamma, 0.0)
    counts = torch.zeros_like(living)
    missing = n
    while missing > 0 and bool((weights * (counts < room)).any()):
        open_weights = weights * (counts < room)
        draws = torch.multinomial(open_weights, missing, replacement=True, generator=generator)
        counts = torch.minimum(counts + draws.bincount(minlength=layer.vectors), room)
        missing = n - int(counts.sum())

    vectors = counts.nonzero()[:, 0]
    columns = theta.view(layer.fan_out, layer.vectors)[:, vectors]
    # Random order of each vector's unconnected entries; the first `counts` of them are taken.
    key = torch.rand(columns.shape, generator=generator, device=theta.device)
    order = torch.where(columns > 0, 2.0, key).argsort(dim=0)
    rows, column = (
        torch.arange(layer.fan_out, device=theta.device)[:, None] < counts[vectors]
    ).nonzero(as_tuple=True)
    chosen = order[rows, column] * layer.vectors + vectors[column]
    if missing == 0:
        return chosen
    filled = theta.clone()
    filled[chosen] = 1.0
    everywhere = torch.cat([connected, chosen])
    rest = random(layer, filled, everywhere, missing, options=options, generator=generator)
    return torch.cat([chosen, rest])
