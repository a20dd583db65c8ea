"""The flat layout: vectors are what the thesis calls vectors, budgets are exact."""

from __future__ import annotations

from decimal import Decimal

import pytest
import torch

from rewire.errors import InputError
from rewire.models.layout import (
    check_sparsity,
    connected_per_layer,
    connection_budget,
    lay_out,
    total_size,
)

LAYERS = lay_out([("conv", (5, 3, 2, 4)), ("dense", (7, 6)), ("last", (2, 7))])


def test_layers_lie_one_after_the_other():
    assert [(layer.name, layer.offset, layer.size) for layer in LAYERS] == [
        ("conv", 0, 120),
        ("dense", 120, 42),
        ("last", 162, 14),
    ]
    assert total_size(LAYERS) == 176
    assert [layer.fan_out for layer in LAYERS] == [5, 7, 2]
    assert [layer.vectors for layer in LAYERS] == [24, 6, 7]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_vector_is_all_weights_that_leave_one_input_position(layer):
    index = torch.arange(layer.size)
    weight = layer.as_weight(index)
    if len(layer.shape) == 4:
        out, rows, columns, inputs = layer.shape
        assert weight.shape == (out, inputs, rows, columns)
        vectors = [
            weight[:, i, y, x] for y in range(rows) for x in range(columns) for i in range(inputs)
        ]
    else:
        vectors = [weight[:, i] for i in range(layer.shape[1])]
    assert len(vectors) == layer.vectors
    for number, vector in enumerate(vectors):
        assert len(vector) == layer.fan_out
        assert (vector % layer.vectors == number).all()
    assert torch.equal(layer.as_entries(weight), index)
    assert torch.equal(layer.as_entries(weight.contiguous()), index)


def test_of_is_a_view_of_the_layers_entries():
    flat = torch.arange(176)
    for layer in LAYERS:
        assert layer.of(flat).tolist() == list(range(layer.offset, layer.offset + layer.size))
    LAYERS[1].of(flat).zero_()
    assert int((flat == 0).sum()) == 42 + 1


def test_connected_entries_are_counted_per_layer():
    for connected, expected in [
        ([], [0, 0, 0]),
        ([0, 119, 120, 161, 162, 175], [2, 2, 2]),
        ([162, 163], [0, 0, 2]),
    ]:
        given = connected_per_layer(torch.tensor(connected, dtype=torch.int64), LAYERS)
        assert given.tolist() == expected


@pytest.mark.parametrize("total", [10, 100, 1_000, 176, 9_810_112])
def test_budget_is_exact_in_the_decimal_that_was_written(total):
    for hundredths in range(1, 100):
        sparsity = hundredths / 100
        expected = int((1 - Decimal(hundredths) / 100) * total)
        if expected:
            assert connection_budget(total, sparsity) == expected
        else:
            with pytest.raises(InputError, match="leaves none of the network's"):
                connection_budget(total, sparsity)


@pytest.mark.parametrize("sparsity", [0, 1, 0.0, 1.0, -0.1, 1.5, 99, float("nan"), "0.9", None])
def test_sparsity_outside_the_open_interval_is_refused(sparsity):
    with pytest.raises(InputError, match=r"sparsity is .*Allowed: above 0 and below 1"):
        check_sparsity(sparsity)
    with pytest.raises(InputError, match=r"sparsity is"):
        connection_budget(100, sparsity)
