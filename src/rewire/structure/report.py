"""The structure of a sparse network as one JSON-able dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rewire.errors import InputError
from rewire.structure.vectors import vector_counts

# Re-born weights start at 1e-12 and would hide zero vectors at w != 0.
NEWBORN_THRESHOLD = 1e-6


def structure_report(
    weights: Mapping[str, np.ndarray], *, growth: int | None = None, budget: int | None = None
) -> dict[str, Any]:
    """Zero vectors, densities and vector occupancy of a network and of each of its layers.

    Args:
        weights: name -> weight (out, kh, kw, in) or (out, in), in network order.
        growth: re-connections over the whole training, if known.
        budget: K, the number of connections allowed, if known.

    Returns:
        `zero_vectors` and `zero_vectors_above_1e-6`: {count, total, percent} at w != 0 and at
        |w| > 1e-6; `connected`, `size`, `density_percent`; `turnover` = growth / budget (None if
        either is unknown), with `births` (the growth) and `budget`; `histogram`: {connected,
        vectors}, the number of vectors for every occurring number of connected weights; `layers`:
        a list in network order, each with `name`, `shape` and the same measures, so that index 8
        is "layer 8" of the thesis.

    Raises:
        InputError: if there is no weight, or a shape has no vectors, or the budget is not positive.
    """
    if not weights:
        raise InputError("no weights to report on. Allowed: at least one layer.")
    if budget is not None and budget <= 0:
        raise InputError(f"budget {budget} is not positive. Allowed: the number of connections K.")
    layers = [_layer(name, weight) for name, weight in weights.items()]
    counts = np.concatenate([vector_counts(weight) for weight in weights.values()])
    above = np.concatenate(
        [vector_counts(weight, threshold=NEWBORN_THRESHOLD) for weight in weights.values()]
    )
    occupancy, vectors = np.unique(counts, return_counts=True)
    return {
        **_measures(counts, above, size=sum(layer["size"] for layer in layers)),
        "births": growth,
        "budget": budget,
        "turnover": None if growth is None or budget is None else growth / budget,
        "histogram": {"connected": occupancy.tolist(), "vectors": vectors.tolist()},
        "layers": layers,
    }


def _layer(name: str, weight: np.ndarray) -> dict[str, Any]:
    shape = [int(n) for n in np.shape(weight)]
    counts = vector_counts(weight)
    above = vector_counts(weight, threshold=NEWBORN_THRESHOLD)
    return {"name": name, "shape": shape, **_measures(counts, above, size=int(np.size(weight)))}


def _measures(counts: np.ndarray, above: np.ndarray, *, size: int) -> dict[str, Any]:
    connected = int(counts.sum())
    return {
        "zero_vectors": _zeros(counts),
        "zero_vectors_above_1e-6": _zeros(above),
        "connected": connected,
        "size": size,
        "density_percent": 100 * connected / size,
    }


def _zeros(counts: np.ndarray) -> dict[str, Any]:
    zeros = int(np.count_nonzero(counts == 0))
    return {"count": zeros, "total": counts.size, "percent": 100 * zeros / counts.size}
