"""What a sparse matrix product costs in seconds, against the number of stored entries.

The article asks: does pruning make the decoupled network faster? Medians of single-thread timings
and the line time = a + b · entries through them.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse

from rewire.errors import InputError
from rewire.pruning.decoupled import SCORES, DecoupledNetwork, prune_entries
from rewire.record import Record
from rewire.registry import Registry

# The first products of a matrix take up to twenty times as long as the later ones.
WARM_UP = 5

Backend = Callable[[sparse.csr_array, np.ndarray], Callable[[], Any]]
"""(matrix (in, out), inputs (B, in)) → a function that computes the product (B, out)."""

BACKENDS: Registry[Backend] = Registry("backend of the sparse product")


class Timing(Record):
    """Seconds of one product, of a network's `layer` pruned by `ratio` if it is of one."""

    layer: str | None = None
    ratio: float | None = None
    backend: str
    batch_size: int
    entries: int
    seconds: float


class Fit(Record):
    """The line of `fit_cost` through the timings of one backend and batch size."""

    backend: str
    batch_size: int
    a: float
    b: float
    r2: float


class Cost(Record):
    """What products cost."""

    measurements: list[Timing]
    fits: list[Fit]


@BACKENDS.register("scipy")
def scipy_product(matrix: sparse.csr_array, x: np.ndarray) -> Callable[[], np.ndarray]:
    """SciPy, as `DecoupledNetwork` runs it."""
    return lambda: x @ matrix


@BACKENDS.register("torch")
def torch_product(matrix: sparse.csr_array, x: np.ndarray) -> Callable[[], torch.Tensor]:
    """PyTorch's compressed sparse rows; transposed beforehand, for it wants them on the left."""
    turned = matrix.T.tocsr()
    starts, columns = (
        torch.from_numpy(a.astype(np.int64)) for a in (turned.indptr, turned.indices)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        left = torch.sparse_csr_tensor(
            starts,
            columns,
            torch.from_numpy(turned.data),
            size=turned.shape,
            check_invariants=True,
        )
    right = torch.from_numpy(np.ascontiguousarray(x.T))
    return lambda: (left @ right).T


def fit_cost(entries: Sequence[int], seconds: Sequence[float]) -> tuple[float, float, float]:
    """Least-squares line seconds = a + b · entries.

    Returns:
        a in seconds, b in seconds per entry, and R², the share of the variance of the seconds that
        the line explains (1 if they are all equal).

    Raises:
        InputError: unless there are two different numbers of entries.
    """
    if len(set(entries)) < 2:
        raise InputError(
            f"no line through {sorted(set(entries))} entries. Allowed: at least two numbers."
        )
    x, y = np.asarray(entries, float), np.asarray(seconds, float)
    slope, intercept = np.polyfit(x, y, 1)
    total = np.square(y - y.mean()).sum()
    unexplained = np.square(y - intercept - slope * x).sum()
    r2 = 1 - unexplained / total if total else 1.0
    return float(intercept), float(slope), float(r2)


def product_cost(
    matrices: Iterable[sparse.csr_array],
    *,
    batch_sizes: Sequence[int] = (1, 100),
    backends: Sequence[str] = ("scipy", "torch"),
    repeats: int = 21,
    clock: Callable[[], float] = time.perf_counter,
) -> Cost:
    """Time inputs (B, in) @ matrix (in, out) for every matrix, batch size and backend, one thread.

    Args:
        matrices: e.g. one layer pruned at several ratios; at least two numbers of stored entries.
        batch_sizes: values of B.
        backends: names in `BACKENDS`.
        repeats: timings of which the median counts, after `WARM_UP` that do not.
        clock: seconds.

    Raises:
        InputError: for fewer than two numbers of entries, an unknown backend, or a count below 1.
    """
    matrices = list(matrices)
    for name, value in [("repeats", repeats), *(("batch size", size) for size in batch_sizes)]:
        if value < 1:
            raise InputError(f"{name} is {value}. Allowed: from 1 on.")
    entries = [matrix.nnz for matrix in matrices]
    measurements, fits = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for backend in backends:
            for size in batch_sizes:
                seconds = [
                    _median(BACKENDS[backend](matrix, _inputs(matrix, size)), repeats, clock)
                    for matrix in matrices
                ]
                a, b, r2 = fit_cost(entries, seconds)
                fits.append(Fit(backend=backend, batch_size=size, a=a, b=b, r2=r2))
                measurements += [
                    Timing(backend=backend, batch_size=size, entries=count, seconds=value)
                    for count, value in zip(entries, seconds, strict=True)
                ]
    finally:
        torch.set_num_threads(threads)
    return Cost(measurements=measurements, fits=fits)


def layer_cost(
    network: DecoupledNetwork,
    means: Mapping[str, np.ndarray],
    *,
    metric: str,
    ratios: Sequence[float],
    **options: Any,
) -> Cost:
    """`product_cost` of every sparse layer, whole and pruned; one line through all of them.

    Args:
        network: the unpruned network.
        means: what `network.mean_inputs` gave.
        metric: a name in `SCORES`.
        ratios: shares of each layer's entries that go.
        options: of `product_cost`.
    """
    matrices = {}
    for layer in network.layers:
        if sparse.issparse(layer.weight):
            score = SCORES[metric](layer.weight, means[layer.name])
            for ratio in sorted({0.0, *ratios}):
                matrices[layer.name, ratio] = prune_entries(layer.weight, score, ratio)
    cost = product_cost(matrices.values(), **options)
    labels = itertools.cycle({"layer": layer, "ratio": ratio} for layer, ratio in matrices)
    rows = zip(cost.measurements, labels, strict=False)
    return Cost(measurements=[row.model_copy(update=own) for row, own in rows], fits=cost.fits)


def _inputs(matrix: sparse.csr_array, size: int) -> np.ndarray:
    return np.random.default_rng(0).random((size, matrix.shape[0])).astype(matrix.dtype)


def _median(product: Callable[[], Any], repeats: int, clock: Callable[[], float]) -> float:
    for _ in range(WARM_UP):
        product()
    seconds = []
    for _ in range(repeats):
        start = clock()
        product()
        seconds.append(clock() - start)
    return float(np.median(seconds))
