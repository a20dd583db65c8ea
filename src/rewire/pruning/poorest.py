"""`poorest` and `sparser`: whole vectors go, those with the fewest connections first (ours).

The thesis's outlook (section 6) asks for it: networks that are trained with more weights than they
may keep and pruned by structure, and accuracy against structure as a curve instead of one point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from rewire.models.layout import connection_budget
from rewire.options import Share
from rewire.registry import PRUNINGS
from rewire.structure.vectors import as_matrix, vector_counts


@dataclass(frozen=True)
class Ranking:
    """Vectors with a connection, of all layers, the poorest first: layer, place in it, weights."""

    layer: np.ndarray
    vector: np.ndarray
    connections: np.ndarray


def ranking(weights: Mapping[str, np.ndarray], order: str) -> Ranking:
    """Rank all vectors that are not empty.

    Strength is Σ|w| over the mean of the layer: BatchNorm makes the scale of a layer arbitrary. It
    decides between vectors of equally many connections, and alone if it is the `order`; of equal
    ones the first in network order comes first.
    """
    layers, vectors, counts, strengths = [], [], [], []
    for number, weight in enumerate(weights.values()):
        connections = vector_counts(weight)
        living = connections.nonzero()[0]
        strength = np.abs(as_matrix(weight)[:, living]).sum(axis=0, dtype=np.float64)
        layers.append(np.full(len(living), number))
        vectors.append(living)
        counts.append(connections[living])
        strengths.append(strength / strength.mean() if len(living) else strength)
    layer, vector, count, strength = map(np.concatenate, (layers, vectors, counts, strengths))
    keys = (strength, count) if order == "connections" else (strength,)
    ranks = np.lexsort(keys)  # by the last key first; stable
    return Ranking(layer[ranks], vector[ranks], count[ranks])


def without(
    weights: Mapping[str, np.ndarray], ranked: Ranking, number: int
) -> dict[str, np.ndarray]:
    """Copies of the weights in which the first `number` vectors of a ranking are emptied."""
    pruned = {name: weight.copy() for name, weight in weights.items()}
    for place, weight in enumerate(pruned.values()):
        mine = ranked.vector[:number][ranked.layer[:number] == place]
        as_matrix(weight)[:, mine] = 0
    return pruned


@PRUNINGS.register("poorest")
def prune_poorest(
    weights: Mapping[str, np.ndarray],
    *,
    zero_vectors: Share = 0.3,
    order: Literal["connections", "strength"] = "connections",
) -> dict[str, np.ndarray]:
    """Empty the poorest vectors until a share of all vectors are zero vectors.

    Args:
        weights: name → weight (out, kh, kw, in) or (out, in), in network order; not changed.
        zero_vectors: their share of all vectors afterwards; no fewer than before.
        order: what makes a vector poor, few connections or little weight.

    Returns:
        The pruned weights: new arrays, same names, shapes and types.
    """
    ranked = ranking(weights, order)
    vectors = sum(as_matrix(weight).shape[1] for weight in weights.values())
    before = vectors - len(ranked.vector)
    return without(weights, ranked, max(0, round(zero_vectors * vectors) - before))


@PRUNINGS.register("sparser")
def prune_sparser(
    weights: Mapping[str, np.ndarray],
    *,
    sparsity: Annotated[float, Field(gt=0, lt=1)] = 0.99,
    order: Literal["connections", "strength"] = "connections",
) -> dict[str, np.ndarray]:
    """Empty the poorest vectors until the layers are as sparse as asked, to the weight.

    The last vector is not emptied as a whole where that would be too much: its smallest weights go.

    Args:
        weights: name → weight (out, kh, kw, in) or (out, in), in network order; not changed.
        sparsity: share of weights that are zero afterwards; no fewer than before.
        order: what makes a vector poor, few connections or little weight.

    Returns:
        The pruned weights: new arrays, same names, shapes and types.
    """
    ranked = ranking(weights, order)
    size = sum(weight.size for weight in weights.values())
    surplus = int(ranked.connections.sum()) - connection_budget(size, sparsity)
    reached = ranked.connections.cumsum()
    number = int(np.searchsorted(reached, surplus, side="right"))
    pruned = without(weights, ranked, number)
    rest = surplus - (int(reached[number - 1]) if number else 0)
    if rest > 0:
        last = list(pruned.values())[ranked.layer[number]]
        column = as_matrix(last)[:, ranked.vector[number]]
        connected = column.nonzero()[0]
        weakest = connected[np.argsort(np.abs(column[connected]), kind="stable")[:rest]]
        column[weakest] = 0
    return pruned
