"""Timing of sparse products: the products themselves, the medians and the line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rewire.errors import InputError
from rewire.pruning.decoupled import SCORES, decouple, dense_as_csr, prune_entries
from rewire.pruning.decoupled_cost import BACKENDS, fit_cost, product_cost


def conv() -> nn.Conv2d:
    layer = nn.Conv2d(2, 3, 3, padding="same")
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    return layer


def test_fit_of_a_line():
    entries = [10, 100, 1000, 5000]
    fit = fit_cost(entries, [3e-4 + 2e-8 * count for count in entries])
    assert fit == {"a": pytest.approx(3e-4), "b": pytest.approx(2e-8)}
    with pytest.raises(InputError, match=r"no line through \[10\] entries"):
        fit_cost([10, 10], [1.0, 2.0])


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_backends_compute_the_product(name):
    matrix = decouple(conv(), 6, 5)
    x = np.random.default_rng(0).random((4, 60)).astype(np.float32)
    found = np.asarray(BACKENDS[name](matrix, x)())
    np.testing.assert_allclose(found, x @ matrix.toarray(), rtol=1e-5, atol=1e-6)


def test_cost_is_the_median_by_the_clock_and_its_line():
    matrices = [
        prune_entries(matrix, SCORES["absolute"](matrix, None), ratio)
        for matrix in [decouple(conv(), 6, 5)]
        for ratio in (0.0, 0.5, 0.9)
    ]
    entries = [matrix.nnz for matrix in matrices]
    # Three timings per product: two that fit the line, and one interruption of a second.
    durations = [d for count in entries for d in (1e-3 + 1e-6 * count, 1.0, 1e-3 + 1e-6 * count)]
    ticks = iter(np.cumsum([value for d in durations * 4 for value in (5.0, d)]).tolist())
    threads = torch.get_num_threads()
    result = product_cost(matrices, batch_sizes=(1, 100), repeats=3, clock=lambda: next(ticks))
    assert torch.get_num_threads() == threads
    assert next(ticks, None) is None
    assert [(row["backend"], row["batch_size"]) for row in result["fits"]] == [
        ("scipy", 1), ("scipy", 100), ("torch", 1), ("torch", 100),
    ]  # fmt: skip
    for fit in result["fits"]:
        assert fit["a"] == pytest.approx(1e-3)
        assert fit["b"] == pytest.approx(1e-6)
    assert [row["entries"] for row in result["measurements"]] == entries * 4
    for row in result["measurements"]:
        assert row["seconds"] == pytest.approx(1e-3 + 1e-6 * row["entries"])


def test_cost_by_the_real_clock_and_what_it_refuses():
    matrices = [dense_as_csr(np.ones((300, n), np.float32)) for n in (10, 300)]
    result = product_cost(matrices, batch_sizes=(100,), repeats=5)
    seconds = {(row["backend"], row["entries"]): row["seconds"] for row in result["measurements"]}
    for backend in BACKENDS:
        assert seconds[backend, 90_000] > seconds[backend, 3_000] > 0
    with pytest.raises(InputError, match="repeats is 0"):
        product_cost(matrices, repeats=0)
    with pytest.raises(InputError, match="batch size is 0"):
        product_cost(matrices, batch_sizes=(0,))
    with pytest.raises(InputError, match="Did you mean 'torch'"):
        product_cost(matrices, backends=("torhc",))
    with pytest.raises(InputError, match="at least two numbers"):
        product_cost(matrices[:1])
