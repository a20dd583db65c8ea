"""The structure of a sparse network as one record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from pydantic import Field

from rewire.errors import InputError
from rewire.record import Record
from rewire.structure.vectors import vector_counts

# Re-born weights start at 1e-12 and would hide zero vectors at w != 0.
NEWBORN_THRESHOLD = 1e-6


class Zeros(Record):
    """Vectors without a connected weight."""

    count: int
    total: int
    percent: float

    @classmethod
    def among(cls, counts: np.ndarray) -> Self:
        """From the number of connected weights of every vector."""
        zeros = int(np.count_nonzero(counts == 0))
        return cls(count=zeros, total=counts.size, percent=100 * zeros / counts.size)


class Measures(Record):
    """What is measured of a network and of each of its layers.

    Attributes:
        zero_vectors, zero_vectors_above: at w != 0 and at |w| > 1e-6.
        connected, size: weights that are not zero, and all.
        density_percent: their ratio.
    """

    zero_vectors: Zeros
    zero_vectors_above: Zeros = Field(alias="zero_vectors_above_1e-6")
    connected: int
    size: int
    density_percent: float

    @classmethod
    def of_counts(cls, counts: np.ndarray, above: np.ndarray, *, size: int, **more: Any) -> Self:
        """From the connected weights of every vector at both thresholds; `more` are fields."""
        connected = int(counts.sum())
        return cls(
            zero_vectors=Zeros.among(counts),
            zero_vectors_above=Zeros.among(above),
            connected=connected,
            size=size,
            density_percent=100 * connected / size,
            **more,
        )


class _Named(Record):
    name: str
    shape: list[int]


class LayerReport(Measures, _Named):  # fields of the last base come first
    """One layer."""


class Histogram(Record):
    """The number of `vectors` for every occurring number of `connected` weights."""

    connected: list[int]
    vectors: list[int]


class StructureReport(Measures):
    """A whole network.

    Attributes:
        growth: re-connections over the whole training; None if unknown, as `budget`.
        budget: K, the number of connections allowed.
        turnover: growth / budget; None if either is unknown.
        histogram: of the connected weights of a vector.
        layers: in network order, so that index 8 is "layer 8" of the thesis.
    """

    growth: int | None = Field(alias="births")
    budget: int | None
    turnover: float | None
    histogram: Histogram
    layers: list[LayerReport]

    def overall(self) -> dict[str, Any]:
        """The numbers that concern the whole network, as plain values."""
        plain = self.as_json()
        return {key: plain[key] for key in plain if key not in ("layers", "histogram")}


def structure_report(
    weights: Mapping[str, np.ndarray], *, growth: int | None = None, budget: int | None = None
) -> StructureReport:
    """Zero vectors, densities and vector occupancy of a network and of each of its layers.

    Args:
        weights: name -> weight (out, kh, kw, in) or (out, in), in network order.
        growth: re-connections over the whole training, if known.
        budget: K, the number of connections allowed, if known.

    Raises:
        InputError: if there is no weight, or a shape has no vectors, or the budget is not positive.
    """
    if not weights:
        raise InputError("no weights to report on. Allowed: at least one layer.")
    if budget is not None and budget <= 0:
        raise InputError(f"budget {budget} is not positive. Allowed: the number of connections K.")
    layers = [_layer(name, weight) for name, weight in weights.items()]
    counts, above = (
        np.concatenate([vector_counts(w, threshold=threshold) for w in weights.values()])
        for threshold in (0.0, NEWBORN_THRESHOLD)
    )
    occupancy, vectors = np.unique(counts, return_counts=True)
    return StructureReport.of_counts(
        counts,
        above,
        size=sum(layer.size for layer in layers),
        growth=growth,
        budget=budget,
        turnover=None if growth is None or budget is None else growth / budget,
        histogram=Histogram(connected=occupancy.tolist(), vectors=vectors.tolist()),
        layers=layers,
    )


def _layer(name: str, weight: np.ndarray) -> LayerReport:
    counts, above = (vector_counts(weight, threshold=t) for t in (0.0, NEWBORN_THRESHOLD))
    shape = [int(n) for n in np.shape(weight)]
    return LayerReport.of_counts(counts, above, size=int(np.size(weight)), name=name, shape=shape)
