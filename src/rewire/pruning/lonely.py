"""`lonely`: structured pruning of the thesis (section 4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rewire.registry import PRUNINGS
from rewire.structure.vectors import lonely_mask


@PRUNINGS.register("lonely")
def prune_lonely(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Remove the weights that are the only non-zero of their vector, in one pass.

    The published loss of accuracy comes from very few weights, nearly all of which must sit in the
    first and the last layer: `prune.layers=inner` leaves these two alone.

    Args:
        weights: name → weight (out, kh, kw, in) or (out, in), in network order; not changed.

    Returns:
        The pruned weights: new arrays, same names, shapes and types.
    """
    return {name: np.where(lonely_mask(w), w.dtype.type(0), w) for name, w in weights.items()}
