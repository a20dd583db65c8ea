"""`moved`: the last weights of nearly empty vectors go into well-filled ones (ours).

The thesis's outlook (section 6): "rewire a few weights into neighbouring dense vectors and add
non-rewiring fine-tuning steps". What has moved begins at nothing; `prune.finetune` trains it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rewire.connectivity.sampling import BIRTH
from rewire.options import Count
from rewire.registry import PRUNINGS
from rewire.structure.vectors import as_matrix, connected


@PRUNINGS.register("moved")
def move_lonely(weights: Mapping[str, np.ndarray], *, most: Count = 1) -> dict[str, np.ndarray]:
    """Empty vectors of at most so many connections; as many new ones grow in the richest vectors.

    A weight stays with its output and keeps its sign: it goes into that vector of its layer which
    has most connections, among those that are not emptied and in which its output is unconnected;
    of equally rich ones into the first. Where there is none, the weight is lost.

    Args:
        weights: name → weight (out, kh, kw, in) or (out, in), in network order; not changed.
        most: connections up to which a vector is emptied.

    Returns:
        The changed weights: new arrays, same names, shapes and types.
    """
    changed = {name: weight.copy() for name, weight in weights.items()}
    for weight in changed.values():
        _move(as_matrix(weight), most)
    return changed


def _move(matrix: np.ndarray, most: int) -> None:
    """Move within one layer (fan_out, vectors), in place."""
    there = connected(matrix)
    counts = there.sum(axis=0)
    poor = (counts > 0) & (counts <= most)
    outputs, vectors = (there & poor).nonzero()
    signs = np.sign(matrix[outputs, vectors])
    matrix[:, poor] = 0
    for output, sign in zip(outputs, signs, strict=True):
        room = np.where((counts > most) & (matrix[output] == 0), counts, 0)
        richest = room.argmax()
        if room[richest]:
            matrix[output, richest] = sign * BIRTH
