"""Timing of sparse products: the products themselves, the medians and the line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rewire.errors import InputError
from rewire.pruning.decoupled import (
    SCORES,
    DecoupledNetwork,
    decouple,
    dense_as_csr,
    prune_entries,
)
from rewire.pruning.decoupled_cost import BACKENDS, fit_cost, layer_cost, product_cost


def conv() -> nn.Conv2d:
    layer = nn.Conv2d(2, 3, 3, padding="same")
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    return layer


def test_fit_of_a_line():
    entries = [10, 100, 1000, 5000]
    fit = fit_cost(entries, [3e-4 + 2e-8 * count for count in entries])
    assert fit == (pytest.approx(3e-4), pytest.approx(2e-8), pytest.approx(1))
    # By hand: 0.5 + x leaves 1/6, -2/6, 1/6, squares of 1/6 in all; around the mean they are 13/6.
    fit = fit_cost([0, 1, 2], [0.5 + 1 / 6, 1.5 - 2 / 6, 2.5 + 1 / 6])
    assert fit == (pytest.approx(0.5), pytest.approx(1), pytest.approx(12 / 13))
    assert fit_cost([1, 2], [3.0, 3.0])[2] == 1
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
    assert [(row.backend, row.batch_size) for row in result.fits] == [
        ("scipy", 1), ("scipy", 100), ("torch", 1), ("torch", 100),
    ]  # fmt: skip
    for fit in result.fits:
        assert fit.a == pytest.approx(1e-3)
        assert fit.b == pytest.approx(1e-6)
    assert [row.entries for row in result.measurements] == entries * 4
    for row in result.measurements:
        assert row.seconds == pytest.approx(1e-3 + 1e-6 * row.entries)


def test_cost_of_layers_whole_and_pruned():
    convs = [conv(), nn.Conv2d(3, 2, 3, padding="same")]
    network = DecoupledNetwork.from_modules(
        convs, [nn.Linear(60, 10)], height=6, width=5, sparse_linears=False
    )
    means = {layer.name: np.ones(layer.weight.shape[0]) for layer in network.layers}
    options = {"metric": "activated", "batch_sizes": [3], "repeats": 2}
    result = layer_cost(network, means, ratios=[0.9, 0.5], **options)
    every = [(layer, ratio) for layer in ("conv1", "conv2") for ratio in (0, 0.5, 0.9)]
    rows = result.measurements
    assert [(row.layer, row.ratio) for row in rows] == every * 2
    assert [row.backend for row in rows] == ["scipy"] * 6 + ["torch"] * 6
    whole = {layer.name: layer.entries for layer in network.layers}
    for row in rows:
        assert row.entries == whole[row.layer] - int(row.ratio * whole[row.layer])
    for fit in result.fits:
        own = [row for row in rows if row.backend == fit.backend]
        line = fit_cost([row.entries for row in own], [row.seconds for row in own])
        assert (fit.batch_size, fit.a, fit.b, fit.r2) == (3, *line)
    keys = ["layer", "ratio", "backend", "batch_size", "entries", "seconds"]
    assert all(list(row.as_json()) == keys for row in rows)


def test_cost_by_the_real_clock_and_what_it_refuses():
    matrices = [dense_as_csr(np.ones((300, n), np.float32)) for n in (10, 300)]
    result = product_cost(matrices, batch_sizes=(100,), repeats=5)
    seconds = {(row.backend, row.entries): row.seconds for row in result.measurements}
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
