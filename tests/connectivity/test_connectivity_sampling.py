"""Connectivity sampling against its written semantics, for every registered strategy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewire.connectivity.budget import split_over_layers
from rewire.connectivity.random_subset import choose_unconnected
from rewire.connectivity.sampling import (
    BIRTH,
    ConnectivityError,
    add_noise,
    connected_entries,
    sample_connectivity,
)
from rewire.connectivity.strategies.base import Demand
from rewire.errors import InputError
from rewire.models.layout import lay_out, total_size
from rewire.registry import STRATEGIES
from rewire.rng import generator


@st.composite
def networks(draw):
    shapes = draw(
        st.lists(
            st.one_of(
                st.tuples(*[st.integers(1, 12)] * 2),
                st.tuples(
                    st.integers(1, 8), st.integers(1, 3), st.integers(1, 3), st.integers(1, 8)
                ),
            ),
            min_size=1,
            max_size=4,
        )
    )
    layers = lay_out((f"layer{i}", shape) for i, shape in enumerate(shapes))
    total = total_size(layers)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    theta = np.where(rng.random(total) < density, rng.random(total), -rng.random(total) / 10)
    return layers, torch.tensor(theta, dtype=torch.float32), int(rng.integers(0, total + 1))


def sample(theta, layers, budget, strategy="random", seed=0, **options):
    return sample_connectivity(
        theta,
        layers,
        budget=budget,
        strategy=STRATEGIES.build(strategy, **options),
        generator=generator(seed, "test"),
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([3, 3, 5], "3 entries, 2 different ones, 0 of them connected already"),
        ([0, 3, 5], "3 entries, 3 different ones, 1 of them connected already"),
        ([3, 5], "2 entries, 2 different ones, 0 of them connected already"),
    ],
)
def test_a_strategy_that_gives_other_entries_is_refused_before_anything_changes(given, said):
    theta = torch.tensor([1.0, 2.0, 3.0, -1.0, 0.0, -2.0])
    before = theta.clone()
    with pytest.raises(ConnectivityError, match=f"{said}. Allowed: 3 different unconnected"):
        sample_connectivity(
            theta,
            lay_out([("dense1", (2, 3))]),
            budget=6,
            strategy=lambda *_, **__: torch.tensor(given),
            generator=generator(0, "test"),
        )
    assert torch.equal(theta, before)


@pytest.mark.parametrize("strategy", list(STRATEGIES))
@settings(max_examples=60, deadline=None, derandomize=True)
@given(network=networks(), seed=st.integers(0, 1000))
def test_budget_is_met_exactly_and_nothing_else_changes(strategy, network, seed):
    layers, theta, budget = network
    before = theta.clone()
    result = sample(theta, layers, budget, strategy, seed)

    was = before > 0
    n = max(0, budget - int(was.sum()))
    born = (theta != before).nonzero()[:, 0]
    assert len(born) == n == int(result.growth.sum())
    assert not was[born].any()
    assert (theta[born] == BIRTH).all()
    # Nothing is removed: more than the budget stays connected, counted as surplus.
    assert int((theta > 0).sum()) == max(budget, int(was.sum())) == budget + result.surplus
    assert torch.equal(result.connected, connected_entries(theta))
    assert result.per_layer.tolist() == [int((layer.of(theta) > 0).sum()) for layer in layers]


def test_growth_are_split_in_proportion_to_layer_size():
    sizes = torch.tensor([100, 300, 600])
    total = sum(
        split_over_layers(50, sizes=sizes, free=sizes, generator=generator(seed, "test"))
        for seed in range(400)
    )
    share = total / total.sum()
    assert int(total.sum()) == 400 * 50
    assert torch.allclose(share, sizes / 1000, atol=4 * (0.25 / 20_000) ** 0.5)


def test_growth_beyond_a_full_layer_go_to_the_others():
    sizes, free = torch.tensor([1000, 10, 10]), torch.tensor([3, 10, 1])
    counts = split_over_layers(14, sizes=sizes, free=free, generator=generator(0, "test"))
    assert counts.tolist() == [3, 10, 1]


@pytest.mark.parametrize("density", [0.05, 0.8])
def test_unconnected_entries_are_chosen_uniformly(density):
    rng = np.random.default_rng(1)
    theta = torch.tensor(np.where(rng.random(200) < density, 1.0, 0.0))
    free = (theta <= 0).nonzero()[:, 0]
    counts, n, rounds = torch.zeros(200), max(1, len(free) // 8), 4000
    for seed in range(rounds):
        chosen = choose_unconnected(theta, n, free=len(free), generator=generator(seed, "test"))
        assert len(chosen.unique()) == n
        counts[chosen] += 1
    assert counts[theta > 0].sum() == 0
    p = n / len(free)
    assert ((counts[free] - rounds * p).abs() < 5 * (rounds * p * (1 - p)) ** 0.5).all()


def test_noise_has_the_reference_scale_and_spares_dormant_entries():
    theta = torch.full((200_000,), 0.0, dtype=torch.float64)
    connected = torch.arange(0, 200_000, 2)
    add_noise(theta, connected, lr=0.1, generator=generator(0, "test"))
    assert theta[1::2].eq(0).all()
    assert theta[::2].std().item() == pytest.approx(1e-7, rel=0.02)
    assert abs(theta[::2].mean().item()) < 1e-9


def test_weighted_takes_neighbours_of_the_largest_weights():
    # One row: the largest weights lie at 2 and 7, their only free neighbours are known.
    layers = lay_out([("row", (10, 1))])
    theta = torch.tensor([0.0, 0.1, 0.9, 0.0, 0.0, 0.0, 0.1, 0.8, 0.0, 0.0])
    sample(theta, layers, budget=6, strategy="weighted")
    assert connected_entries(theta).tolist() == [1, 2, 3, 6, 7, 8]


def test_vector_follows_the_power_of_the_connections():
    # 4 inputs with 1, 2, 4 and 0 connections of 64 outputs: growth ∝ 1 : 4 : 16 : 0 at γ = 2.
    layers = lay_out([("dense", (64, 4))])
    growth = torch.zeros(4)
    for seed in range(600):
        theta = torch.zeros(64, 4)
        for column, count in enumerate([1, 2, 4, 0]):
            theta[:count, column] = 1.0
        flat = theta.view(-1)
        before = connected_entries(flat)
        sample(flat, layers, budget=len(before) + 5, strategy="vector", seed=seed)
        growth += (flat.view(64, 4) == BIRTH).sum(0)
    expected = 3000 * torch.tensor([1, 4, 16, 0]) / 21
    assert growth.sum() == 3000
    assert ((growth - expected).abs() <= 4 * expected.sqrt()).all()


@pytest.mark.parametrize("free", [2, 40])
def test_vector_is_uniform_inside_a_vector_and_fills_it(free):
    # One input, 64 outputs: nearly full (listed) and mostly empty (drawn) vectors.
    layers = lay_out([("dense", (64, 1))])
    counts, rounds, n = torch.zeros(64), 1500, free // 2
    for seed in range(rounds):
        theta = torch.ones(64)
        theta[:free] = 0
        sample(theta, layers, budget=64 - free + n, strategy="vector", seed=seed)
        counts += theta == torch.tensor(BIRTH)
    assert counts[free:].sum() == 0
    assert ((counts[:free] - rounds / 2).abs() < 4.5 * (rounds / 4) ** 0.5).all()


def test_vector_overflows_full_vectors_into_the_layer():
    layers = lay_out([("dense", (3, 4))])
    theta = torch.zeros(12)
    theta[0] = 1.0  # one connection in vector 0, room for two more there
    result = sample(theta, layers, budget=8, strategy="vector")
    assert (theta.view(3, 4)[:, 0] > 0).all()
    assert len(result.connected) == 8


def gathered_growth(columns, *, outputs=64, grow=6, rounds=400, density=0.1):
    """Re-connections of each vector, over many draws.

    Args:
        columns: θ of each vector's first entries.
        density: of the whole network, which open vectors have one and a half times.
    """
    layers = lay_out([("dense", (outputs, len(columns)))])
    strategy = STRATEGIES.build("gathered", crowding=1.5)
    theta = torch.zeros(outputs, len(columns))
    for column, values in enumerate(columns):
        theta[: len(values), column] = torch.tensor(values)
    flat = theta.view(-1)
    growth = torch.zeros(len(columns))
    for seed in range(rounds):
        demand = Demand(layers[0], connected_entries(flat), grow, density)
        born = strategy(flat, layers, [demand], generator=generator(seed, "test"))
        assert len(born.unique()) == grow
        assert (flat[born] == 0).all()
        growth += torch.bincount(born % len(columns), minlength=len(columns))
    return growth


def test_gathered_grows_in_the_strongest_vectors_alone_and_equally():
    # 13 connections at 0.1 of 64 outputs need 13 / 6.4, that is 3 vectors: those with the largest
    # sums, not those with the most connections.
    columns = [[0.1] * 8, [2.0], [0.5, 0.5], [0.9, 0.2], []]
    growth = gathered_growth(columns, density=0.1 / 1.5)
    expected = growth.sum() / 3
    strongest = growth[[1, 2, 3]]
    assert growth[0] == growth[4] == 0
    assert ((strongest - expected).abs() <= 4 * expected**0.5).all()


def test_gathered_leaves_layers_that_are_denser_open():
    growth = gathered_growth([[0.1] * 8, [0.2] * 6, [], [0.3]], density=0.05)
    expected = growth.sum() / 4
    assert ((growth - expected).abs() <= 4 * expected**0.5).all()


def test_gathered_is_uniform_over_a_layer_without_connections():
    growth = gathered_growth([[], [], [], []])
    expected = growth.sum() / 4
    assert ((growth - expected).abs() <= 4 * expected**0.5).all()


def test_gathered_overflows_full_vectors_into_the_layer():
    growth = gathered_growth([[1.0] * 3, []], outputs=4, grow=4, rounds=5, density=0.9)
    assert growth.tolist() == [5, 15]


def test_unknown_strategy_names_the_nearest_and_the_list():
    with pytest.raises(
        InputError, match=r"'weigthed'.*'weighted'.*Allowed: gathered, l2, random, vector"
    ):
        STRATEGIES["weigthed"]
    with pytest.raises(InputError, match=r"gamma is -1. Allowed: a number from 0 and at most 10"):
        STRATEGIES.build("vector", gamma=-1)
    with pytest.raises(InputError, match="unknown option of rewiring strategy 'random' 'gamma'"):
        STRATEGIES.build("random", gamma=1)
