"""Connected weights of whole networks in a few bytes each, for a page that draws them."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import numpy as np

from rewire.reporting.html.model import Layer
from rewire.structure.vectors import as_matrix, connected, zero_vectors

STEPS = 127  # of a weight's magnitude on either side of zero


def pack_layers(weights: Mapping[str, np.ndarray]) -> tuple[Layer, ...]:
    """Layer name → weight as (out, in) or (out, kh, kw, in), packed in the same order."""
    return tuple(pack_layer(name, weight) for name, weight in weights.items())


def pack_layer(name: str, weight: np.ndarray) -> Layer:
    """The connected weights of one layer.

    A place is vector * outputs + output; gaps between places are written in groups of seven bits,
    lowest first, the eighth bit set if more follow (LEB128). A value has eight bits, so that the
    page knows it to about 1 % of the layer's largest weight.
    """
    matrix = as_matrix(weight)
    by_vector = matrix.T.ravel()
    places = np.flatnonzero(connected(by_vector))
    chosen = by_vector[places].astype(np.float64)
    largest = float(np.abs(chosen).max(initial=0.0))
    steps = np.rint(STEPS * chosen / largest) if largest else np.zeros(0)
    # A weight that is tiny is still connected, and keeps its sign.
    steps = np.where(steps == 0, np.where(chosen < 0, -1, 1), steps).astype(np.int8)
    return Layer(
        name=name,
        outputs=matrix.shape[0],
        vectors=matrix.shape[1],
        connected=len(places),
        zero_vectors=zero_vectors(weight),
        largest=largest,
        places=_text(varints(np.diff(places, prepend=0))),
        values=_text(steps.tobytes()),
    )


def varints(numbers: np.ndarray) -> bytes:
    """Numbers >= 0 as LEB128, one after the other."""
    rest = np.asarray(numbers, dtype=np.int64)
    groups, used = [], []
    more = np.ones(len(rest), dtype=bool)
    while more.any():
        low, rest = rest & 0x7F, rest >> 7
        groups.append(np.where(rest > 0, low | 0x80, low).astype(np.uint8))
        used.append(more)
        more = rest > 0
    if not groups:
        return b""
    return np.stack(groups, axis=1)[np.stack(used, axis=1)].tobytes()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
