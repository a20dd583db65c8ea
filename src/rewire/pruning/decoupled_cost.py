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
from rewire.registry import Registry

# The first products of a matrix take up to twenty times as long as the later ones.
WARM_UP = 5

Backend = Callable[[sparse.csr_array, np.ndarray], Callable[[], Any]]
"""(matrix (in, out), inputs (B, in)) → a function that computes the product (B, out)."""

BACKENDS: Registry[Backend] = Registry("backend of the sparse product")


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


def fit_cost(entries: Sequence[int], seconds: Sequence[float]) -> dict[str, float]:
    """Least-squares line seconds = a + b · entries.

    Returns:
        `a` in seconds, `b` in seconds per entry, and `r2`, the share of the variance of the
        seconds that the line explains (1 if they are all equal).

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
    return {"a": float(intercept), "b": float(slope), "r2": float(r2)}


def product_cost(
    matrices: Iterable[sparse.csr_array],
    *,
    batch_sizes: Sequence[int] = (1, 100),
    backends: Sequence[str] = ("scipy", "torch"),
    repeats: int = 21,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[dict[str, Any]]]:
    """Time inputs (B, in) @ matrix (in, out) for every matrix, batch size and backend, one thread.

    Args:
        matrices: e.g. one layer pruned at several ratios; at least two numbers of stored entries.
        batch_sizes: values of B.
        backends: names in `BACKENDS`.
        repeats: timings of which the median counts, after `WARM_UP` that do not.
        clock: seconds.

    Returns:
        `measurements`: `backend`, `batch_size`, `entries`, `seconds` (of one product) each;
        `fits`: `backend`, `batch_size`, `a`, `b`, `r2` each (see `fit_cost`).

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
                labels = {"backend": backend, "batch_size": size}
                fits.append(labels | fit_cost(entries, seconds))
                measurements += [
                    labels | {"entries": count, "seconds": value}
                    for count, value in zip(entries, seconds, strict=True)
                ]
    finally:
        torch.set_num_threads(threads)
    return {"measurements": measurements, "fits": fits}


def layer_cost(
    network: DecoupledNetwork,
    means: Mapping[str, np.ndarray],
    *,
    metric: str,
    ratios: Sequence[float],
    **options: Any,
) -> dict[str, list[dict[str, Any]]]:
    """`product_cost` of every sparse layer, whole and pruned; one line through all of them.

    Args:
        network: the unpruned network.
        means: what `network.mean_inputs` gave.
        metric: a name in `SCORES`.
        ratios: shares of each layer's entries that go.
        options: of `product_cost`.

    Returns:
        As `product_cost`; measurements have `layer` and `ratio`, too.
    """
    matrices = {}
    for layer in network.layers:
        if sparse.issparse(layer.weight):
            score = SCORES[metric](layer.weight, means[layer.name])
            for ratio in sorted({0.0, *ratios}):
                matrices[layer.name, ratio] = prune_entries(layer.weight, score, ratio)
    cost = product_cost(matrices.values(), **options)
    labels = itertools.cycle({"layer": layer, "ratio": ratio} for layer, ratio in matrices)
    rows = [label | row for label, row in zip(labels, cost["measurements"], strict=False)]
    return cost | {"measurements": rows}


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
