"""The nearest unconnected entries, one source after the other, as Algorithm 1 is written."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int64
from functools import lru_cache
from typing import get_args

import torch
from torch import Tensor

from rewire.engine.library import kernels, pointer
from rewire.models.layout import SparseLayer
from rewire.options import Metric, Ties

AXES = 4
METRICS: dict[Metric, int] = {"euclidean": 0, "matrix": 0, "eq3": 1}


class Space(ctypes.Structure):
    """Index space of one layer; `native/nearest.h` has the same struct."""

    _fields_ = [
        ("start", c_int64),
        ("end", c_int64),
        ("vectors", c_int64),
        ("size", c_int64 * AXES),
    ]


def nearest_one_by_one(
    sources: Tensor,
    theta: Tensor,
    layers: Sequence[SparseLayer],
    *,
    metric: Metric,
    ties: Ties,
    seed: int,
) -> Tensor:
    """For each source in order, the nearest unconnected entry of its layer that is not taken yet.

    Args:
        sources: (n,) indices of connected entries in the flat parameter.
        theta: (N,) float32 on the CPU.
        layers: all layers of the parameter, of up to four axes.
        metric, ties: see `rewire.connectivity.nearest.Search`.
        seed: of random ties; the result does not depend on the number of threads.

    Returns:
        (n,) distinct indices in the flat parameter; -1 where a layer has no entry left.
    """
    spaces = _spaces(tuple(layers), as_matrices=metric == "matrix")
    sources = sources.contiguous()
    found = torch.empty_like(sources)
    kernels().rewire_nearest(
        pointer(theta), spaces, len(spaces), pointer(sources), len(sources),
        METRICS[metric], get_args(Ties).index(ties), seed, pointer(found), torch.get_num_threads(),
    )  # fmt: skip
    return found


@lru_cache(maxsize=16)
def _spaces(layers: tuple[SparseLayer, ...], *, as_matrices: bool) -> ctypes.Array[Space]:
    def space(layer: SparseLayer) -> Space:
        shape = (layer.fan_out, layer.vectors) if as_matrices else layer.shape
        sizes = (1,) * (AXES - len(shape)) + shape
        return Space(layer.span.start, layer.span.stop, layer.vectors, (c_int64 * AXES)(*sizes))

    return (Space * len(layers))(*map(space, layers))
