"""Lowest-dimensional vectors of a layer (thesis, section 3).

A vector holds all weights that leave one input position (fixed kernel row, kernel column and input
channel) and runs over the outputs. Weights are numpy arrays shaped (out, kh, kw, in) or (out, in),
so that every column of the matrix (fan_out, vectors) is one vector.
"""

from __future__ import annotations

import numpy as np

from rewire.errors import InputError


def as_matrix(weight: np.ndarray) -> np.ndarray:
    """View `weight` as (fan_out, vectors); column v is one vector.

    Raises:
        InputError: unless the shape is (out, in) or (out, kh, kw, in) without empty axes.
    """
    weight = np.asarray(weight)
    if weight.ndim not in (2, 4) or weight.size == 0:
        raise InputError(
            f"weight of shape {weight.shape} has no vectors. "
            "Allowed: (out, in) or (out, kh, kw, in), no empty axis."
        )
    return weight.reshape(weight.shape[0], -1)


def connected(weight: np.ndarray, *, threshold: float = 0.0) -> np.ndarray:
    """True where |w| > threshold, in the shape of `weight`; NaN counts as connected."""
    # Not `abs > threshold`: a diverged weight is not an absent one.
    return ~(np.abs(weight) <= threshold)


def vector_counts(weight: np.ndarray, *, threshold: float = 0.0) -> np.ndarray:
    """Number of weights with |w| > threshold in every vector, int64 (vectors,)."""
    return connected(as_matrix(weight), threshold=threshold).sum(axis=0, dtype=np.int64)


def zero_vectors(weight: np.ndarray, *, threshold: float = 0.0) -> int:
    """Number of vectors without any |w| > threshold (the quantity of Table 1)."""
    return int(np.count_nonzero(vector_counts(weight, threshold=threshold) == 0))


def lonely_mask(weight: np.ndarray) -> np.ndarray:
    """True where a weight is the only non-zero of its vector, bool in the shape of `weight`."""
    matrix = connected(as_matrix(weight))
    return (matrix & (matrix.sum(axis=0) == 1)).reshape(np.shape(weight))
