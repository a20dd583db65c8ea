"""The counted operations against the sizes of the layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import floor


def test_operations_are_those_of_the_products():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(8 * 16, 5, bias=False)
    )
    x = torch.rand(2, 3, 4, 4)
    forward = 2 * 2 * (16 * 8 * 27 + 5 * 128)
    with floor.Operations() as count:
        loss = network(x).sum()
    assert count.flops == forward
    with floor.Operations() as count:
        loss.backward()
    # Gradients of all weights, and of the inputs of all layers but the first.
    assert count.flops == forward + 2 * 2 * 5 * 128
    x.requires_grad_()
    with floor.Operations() as count:
        torch.autograd.grad(network(x).sum(), x)
    assert count.flops == 2 * forward


def test_rows_agree_with_themselves():
    rows = floor.run(device=torch.device("cpu"), cache=None, **floor.SETTINGS["quick"])
    natural, trades = rows
    for row in rows:
        floor_ms = row["arithmetic ms"] + row["memory ms"]
        assert row["arithmetic ms"] * row["GFLOP/s at best"] == pytest.approx(1e3 * row["GFLOP"])
        assert row["times the floor"] * floor_ms == pytest.approx(row["step ms"])
    # Ten steps of attack, each forwards and backwards to the input, one forward pass before them,
    # and the clean and adversarial images forwards and backwards: (1 + 10 * 2 + 2 * 3) / 3.
    assert 8.5 < trades["GFLOP"] / natural["GFLOP"] < 9.5
