"""The run-time check notices every broken promise, and nothing else."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rewire.connectivity.check import check_connectivity
from rewire.connectivity.sampling import (
    ConnectivityError,
    connected_entries,
    sample_connectivity,
)
from rewire.models.layout import lay_out
from rewire.registry import STRATEGIES
from rewire.rng import generator

LAYERS = lay_out([("conv1", (4, 3, 3, 5)), ("dense1", (6, 20))])
BUDGET = 60


def step(strategy="random"):
    """θ, what was connected before, and what a step made of it."""
    random = generator(0, "test")
    theta = torch.rand(300, generator=random) - 0.85
    before = theta > 0
    result = sample_connectivity(
        theta,
        LAYERS,
        budget=BUDGET,
        strategy=STRATEGIES[strategy],
        generator=random,
    )
    assert int(result.growth.sum()) > 5
    return theta, before, result


def check(theta, before, result):
    check_connectivity(theta, LAYERS, before=before, result=result, budget=BUDGET, step=17)


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_every_strategy_keeps_its_promises(strategy):
    check(*step(strategy))


def test_a_lost_connection_is_named():
    theta, before, result = step()
    theta[connected_entries(before.float())[0]] = 0
    with pytest.raises(ConnectivityError, match=r"step 17, layer conv1: .*took a connection away"):
        check(theta, before, result)


def test_wrong_numbers_are_named():
    theta, before, result = step()
    more = dataclasses.replace(result, growth=result.growth + torch.tensor([0, 1]))
    with pytest.raises(ConnectivityError, match=r"layer dense1: .* were re-connected, not"):
        check(theta, before, more)
    twice = torch.cat([result.connected, result.connected[-1:]])
    with pytest.raises(ConnectivityError, match="step 17: 61 entries are connected, not 60"):
        check(theta, before, dataclasses.replace(result, connected=twice))


def test_an_entry_that_is_not_listed_is_named():
    theta, before, result = step()
    with pytest.raises(ConnectivityError, match="layer dense1: other entries are listed"):
        check(theta, before, dataclasses.replace(result, connected=result.connected[:-1]))
