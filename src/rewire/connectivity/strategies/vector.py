"""`vector`: re-connections gather in vectors that are already well connected (ours).

Goes beyond the thesis: a vector is drawn with probability proportional to (its connections)^γ, so
rich vectors fill up and poor ones die out, towards the ideal of the thesis's Figure 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rewire.connectivity.choice import choose_unconnected
from rewire.connectivity.indices import sort_with_rank
from rewire.connectivity.strategies.base import STRATEGIES, StrategyOptions, per_layer
from rewire.models.layout import SparseLayer


@STRATEGIES.register("vector")
@per_layer
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

    slots = counts.nonzero()[:, 0].repeat_interleave(counts[counts > 0])
    chosen = _entries_of(slots, layer, theta, generator)
    if missing == 0:
        return chosen
    filled = theta.clone()
    filled[chosen] = 1.0
    free = layer.size - len(connected) - len(chosen)
    rest = choose_unconnected(filled, missing, free=free, generator=generator)
    return torch.cat([chosen, rest])


def _entries_of(
    slots: Tensor, layer: SparseLayer, theta: Tensor, generator: torch.Generator
) -> Tensor:
    """A distinct uniform unconnected entry for each slot, inside the slot's vector.

    Draws rows and drops connected and repeated entries, which leaves every choice equally likely;
    slots that stay empty because their vector is nearly full get a random order of what is left.

    Args:
        slots: (n,) vector of each slot; no vector more often than it has unconnected entries.
    """
    chosen = slots[:0]
    for _ in range(4):
        rows = torch.randint(layer.fan_out, slots.shape, generator=generator, device=theta.device)
        entries = torch.cat([chosen, rows * layer.vectors + slots])
        # Of equal entries the first is kept: those that were chosen before.
        ordered, position = sort_with_rank(entries)
        keep = theta.index_select(0, entries) <= 0
        keep[position[1:][ordered[1:] == ordered[:-1]]] = False
        slots = slots[~keep[len(chosen) :]]
        chosen = entries[keep]
        if len(slots) == 0:
            return chosen
    vectors, counts = slots.unique(return_counts=True)
    columns = (theta.view(layer.fan_out, layer.vectors)[:, vectors] > 0).clone()
    place = torch.searchsorted(vectors, chosen % layer.vectors).clamp_(max=len(vectors) - 1)
    inside = vectors[place] == chosen % layer.vectors
    columns[chosen[inside] // layer.vectors, place[inside]] = True
    key = torch.rand(columns.shape, generator=generator, device=theta.device)
    order = torch.where(columns, 2.0, key).argsort(dim=0)
    ranks = torch.arange(layer.fan_out, device=theta.device)[:, None]
    row, column = (ranks < counts).nonzero(as_tuple=True)
    return torch.cat([chosen, order[row, column] * layer.vectors + vectors[column]])
