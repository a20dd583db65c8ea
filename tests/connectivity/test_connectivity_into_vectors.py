"""Several layers of unlike shapes at once, for the strategies that draw vectors by a chance."""

from __future__ import annotations

import pytest
import torch

from rewire.connectivity.sampling import BIRTH, connected_entries
from rewire.connectivity.strategies.base import Demand
from rewire.connectivity.strategies.into_vectors import Filling, draw_vectors
from rewire.models.layout import lay_out
from rewire.registry import STRATEGIES
from rewire.rng import generator

LAYERS = lay_out([("conv", (6, 2, 1, 3)), ("dense", (20, 2)), ("last", (3, 9))])


def filled(seed=0, share=0.3):
    random = generator(seed, "filled")
    theta = torch.rand(sum(layer.size for layer in LAYERS), generator=random)
    return torch.where(torch.rand(theta.shape, generator=random) < share, theta, -theta)


def demands_of(theta, numbers):
    connected = connected_entries(theta)
    return [
        Demand(layer, connected[(connected >= span.start) & (connected < span.stop)], n, 0.3)
        for layer, n in zip(LAYERS, numbers, strict=True)
        for span in [layer.span]
    ]


def vectors_of(layer, theta):
    """(fan-out, vectors), spelled out from the index space (out, row, column, in) or (out, in)."""
    return layer.of(theta).view(layer.fan_out, -1)


def test_filling_counts_what_each_vector_of_each_layer_holds():
    theta = filled()
    filling = Filling.of(demands_of(theta, [1, 1, 1]))
    assert filling.living.shape == filling.room.shape == (3, 9)
    for row, layer in enumerate(LAYERS):
        living = (vectors_of(layer, theta) > 0).sum(dim=0)
        assert filling.living[row, : layer.vectors].equal(living)
        assert filling.room[row, : layer.vectors].equal(layer.fan_out - living)
        assert not filling.room[row, layer.vectors :].any()
    weights = torch.zeros(3 * 9).index_add_(0, filling.place, theta[filling.connected]).view(3, 9)
    expected = vectors_of(LAYERS[1], theta).clamp(min=0).sum(dim=0)
    torch.testing.assert_close(weights[1, :2], expected)


def test_rows_are_drawn_by_their_own_chances_as_often_as_each_asks():
    chances = torch.tensor([[1.0, 3.0, 0.0], [1e-9, 0.0, 4e-9], [1e12, 1e12, 2e12]]).double()
    room, numbers, rounds = torch.full((3, 3), 50), torch.tensor([4, 0, 10]), 500
    counts = torch.zeros(3, 3)
    for seed in range(rounds):
        drawn, _ = draw_vectors(chances, room, numbers, generator=generator(seed, "test"))
        assert drawn.sum(dim=1).equal(numbers)
        counts += drawn
    expected = chances / chances.sum(dim=1, keepdim=True) * numbers[:, None] * rounds
    assert ((counts - expected).abs() <= 4.5 * expected.sqrt()).all()


def test_full_vectors_are_drawn_again_among_the_others_until_all_are_full():
    chances = torch.tensor([[1e6, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]).double()
    room = torch.tensor([[2, 3, 9, 9], [5, 5, 5, 5]])
    numbers = torch.tensor([10, 7])
    counts, missing = draw_vectors(chances, room, numbers, generator=generator(0, "test"))
    assert counts[0, 0] == 2  # by far the likeliest, until it is full
    assert counts[0].sum() == 10  # 8 more among two vectors that hold 12
    assert counts[0, 3] == 0
    assert counts[1].tolist() == [5, 0, 0, 0]  # and 2 that nobody with a chance can take
    assert missing.tolist() == [0, 2]


@pytest.mark.parametrize(("strategy", "options"), [("vector", {"gamma": 1.0}), ("gathered", {})])
@pytest.mark.parametrize("numbers", [(3, 5, 2), (18, 20, 10)])  # few, and most of what is free
def test_every_layer_gets_its_number_of_different_unconnected_entries(strategy, options, numbers):
    grow = STRATEGIES.build(strategy, **options)
    for seed in range(30):
        theta = filled(seed)
        born = grow(theta, LAYERS, demands_of(theta, numbers), generator=generator(seed, "test"))
        assert (theta[born] <= 0).all()
        theta[born] = BIRTH
        grown = [int((layer.of(theta) == BIRTH).sum()) for layer in LAYERS]
        assert grown == list(numbers)


def test_growth_of_a_layer_does_not_depend_on_its_neighbours():
    """γ = 1: each layer's growth ∝ its own connections, though their vectors differ in number."""
    grow, theta = STRATEGIES.build("vector", gamma=1.0), filled(2, share=0.2)
    numbers, rounds = (2, 2, 2), 1500
    growth = [torch.zeros(layer.vectors) for layer in LAYERS]
    for seed in range(rounds):
        born = grow(theta, LAYERS, demands_of(theta, numbers), generator=generator(seed, "test"))
        for counts, layer in zip(growth, LAYERS, strict=True):
            mine = born[(born >= layer.offset) & (born < layer.span.stop)] - layer.offset
            counts += torch.bincount(mine % layer.vectors, minlength=layer.vectors)
    for counts, layer in zip(growth, LAYERS, strict=True):
        living = (vectors_of(layer, theta) > 0).sum(dim=0).double()
        expected = 2 * rounds * living / living.sum()
        assert (layer.fan_out - living >= 2).all()  # no draw can fail
        assert ((counts - expected).abs() <= 4.5 * expected.sqrt()).all()
