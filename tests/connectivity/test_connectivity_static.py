"""The fixed-shape sampling step: brute force, the ordinary step, and a fake GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_gpu import NoCopies, NoWaiting, SynchronisedError, fake_gpu
from hypothesis import given, settings
from hypothesis import strategies as st
from toys_static import SHAPES, TIES, sample, some_theta

from rewire.connectivity.nearest import Search
from rewire.connectivity.sampling import BIRTH, sample_connectivity
from rewire.connectivity.static import (
    STATIC_STRATEGIES,
    is_static,
    place_births,
)
from rewire.connectivity.static_places import split
from rewire.connectivity.static_tables import draw, static_tables
from rewire.connectivity.strategies import STRATEGIES, StrategyOptions
from rewire.models.layout import lay_out, total_size
from rewire.rng import generator


@st.composite
def networks(draw, *, densities=(0.0, 0.05, 0.5, 0.97, 1.0), most=4):
    shape = st.one_of(
        st.tuples(*[st.integers(1, 12)] * 2),
        st.tuples(st.integers(1, 8), st.integers(1, 3), st.integers(1, 3), st.integers(1, 8)),
    )
    shapes = draw(st.lists(shape, min_size=1, max_size=most))
    layers = lay_out((f"layer{i}", shape) for i, shape in enumerate(shapes))
    total = total_size(layers)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    connected = np.concatenate(
        [rng.random(layer.size) < draw(st.sampled_from(densities)) for layer in layers]
    )
    theta = np.where(connected, 0.1 + rng.permutation(total) / total, -rng.random(total))
    return layers, torch.tensor(theta, dtype=torch.float32), int(rng.integers(1, total + 1))


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("strategy", STATIC_STRATEGIES)
def test_nothing_waits_for_a_gpu_and_nothing_is_copied(strategy, ties):
    layers = lay_out(SHAPES)
    with fake_gpu():
        theta = torch.empty(total_size(layers), device="cuda")
        tables = static_tables(layers, device="cuda")
        with NoCopies():
            result = sample(theta, layers, 200, strategy, ties=ties, tables=tables, generator=None)
        assert result.connected.shape == theta.shape
        assert result.births.shape == result.per_layer.shape == (3,)
        assert result.late.shape == result.surplus.shape == ()
        assert {t.device.type for t in vars(result).values()} == {"cuda"}
    with NoWaiting():  # the same with numbers
        sample(some_theta(layers), layers, 200, strategy, ties=ties)


def test_the_fake_gpu_notices_what_waits():
    for wait in (
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.unique(),
        lambda x: x.to("cpu"),
        lambda x: x + torch.ones(4),
        lambda x: 1 if x.sum() > 0 else 0,
    ):
        with fake_gpu(), NoCopies(), pytest.raises(Exception, match=r"(?s).*") as caught:
            wait(torch.empty(4, device="cuda"))
        assert type(caught.value).__name__ in {
            "DataDependentOutputException",
            "DynamicOutputShapeException",
            "FakeTensorDeviceMismatchError",
            "SynchronisedError",
        }
    for wait in (lambda x: x.sum().item(), lambda x: x.nonzero(), lambda x: x[x > 0]):
        with NoWaiting(), pytest.raises(SynchronisedError):
            wait(torch.ones(4))


@pytest.mark.parametrize("strategy", STATIC_STRATEGIES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(network=networks(), seed=st.integers(0, 1000), share=st.sampled_from([0.1, 0.5, 1.0]))
def test_what_is_born_was_unconnected_and_what_is_late_is_counted(strategy, network, seed, share):
    layers, theta, budget = network
    before, capacity = theta.clone(), max(1, int(share * budget))
    result = sample(theta, layers, budget, strategy, seed=seed, capacity=capacity)

    was, born = before > 0, (theta != before).nonzero()[:, 0]
    n = max(0, budget - int(was.sum()))
    assert len(born) == int(result.births.sum()) <= min(n, capacity)
    assert not was[born].any()
    assert (theta[born] == BIRTH).all()
    assert int((theta > 0).sum()) + int(result.late) == max(budget, int(was.sum()))
    assert int(result.surplus) == max(0, int(was.sum()) - budget)
    assert torch.equal(result.connected, theta > 0)
    per_layer = [(layer.of(theta) > 0, layer.of(theta) != layer.of(before)) for layer in layers]
    assert result.per_layer.tolist() == [int(connected.sum()) for connected, _ in per_layer]
    assert result.births.tolist() == [int(changed.sum()) for _, changed in per_layer]
    if strategy == "random":  # always finds a place
        assert int(result.late) == max(0, n - capacity)


@pytest.mark.parametrize("strategy", STATIC_STRATEGIES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(network=networks(densities=(0.0, 0.05, 0.5)))
def test_what_is_late_is_made_in_the_steps_that_follow(strategy, network):
    layers, theta, budget = network
    for seed in range(60):
        late = int(sample(theta, layers, budget, strategy, seed=seed).late)
        if late == 0:
            break
    assert late == 0
    assert int((theta > 0).sum()) >= budget


def slots_of(theta, layers, budget, strategy, draws, capacity):
    """Layer and source of every slot, written from Algorithm 1 in NumPy."""
    values = theta.numpy()
    sizes = torch.tensor([layer.size for layer in layers])
    living = [np.flatnonzero(layer.of(theta).numpy() > 0) + layer.offset for layer in layers]
    free = sizes - torch.tensor([len(entries) for entries in living])
    n = min(capacity, max(0, budget - sum(map(len, living))))
    planned = split(torch.tensor(n), sizes=sizes, free=free, draws=draws.layer).tolist()
    assert sum(planned) == n
    place, slots = 0, []
    for number, (entries, count) in enumerate(zip(living, planned, strict=True)):
        key = values[entries]
        if strategy == "l2":
            key = draws.order.numpy()[place : place + len(entries)]
        place += len(entries)
        sources = entries[np.argsort(-key, kind="stable")]
        slots += [
            (number, sources[k % len(sources)] if len(sources) else None) for k in range(count)
        ]
    return slots


def distances(source, entries, layer):
    p, q = (np.unravel_index(i - layer.offset, layer.shape) for i in (source, entries))
    return sum((a - b) ** 2 for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("strategy", ["l2", "weighted"])
@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    network=networks(densities=(0.05, 0.3, 0.9), most=3),
    ties=st.sampled_from(TIES),
    seed=st.integers(0, 1000),
    share=st.sampled_from([0.1, 1.0]),
)
def test_every_birth_is_where_one_slot_after_the_other_finds_it(
    strategy, network, ties, seed, share
):
    layers, theta, budget = network
    capacity, tables = max(1, int(share * budget)), static_tables(layers)
    draws = draw(
        tables,
        budget=budget,
        strategy=strategy,
        ties=ties,
        capacity=capacity,
        generator=generator(seed, "test"),
    )
    found = place_births(theta, tables, draws, budget=budget, strategy=strategy, ties=ties)
    free = [set((np.flatnonzero(layer.of(theta) <= 0) + layer.offset).tolist()) for layer in layers]
    slots = slots_of(theta, layers, budget, strategy, draws, capacity)
    made = found.made.tolist()
    assert not any(made[len(slots) :])
    for slot, (number, source) in enumerate(slots):
        if not made[slot]:
            continue
        entry = int(found.entries[slot])
        assert entry in free[number]
        if source is not None:
            left = np.array(sorted(free[number]))
            away = distances(source, left, layers[number])
            assert away.min() == distances(source, np.array([entry]), layers[number])[0]
            equal = left[away == away.min()]
            if ties == "first":
                out, position = np.divmod(equal - layers[number].offset, layers[number].vectors)
                assert entry == equal[np.lexsort((out, position))[0]]
            if ties == "same_vector":
                vectors = layers[number].vectors
                same = equal[(equal - source) % vectors == 0]
                assert len(same) == 0 or entry in same
        free[number].remove(entry)


def test_weighted_with_first_ties_is_the_ordinary_sampling():
    compared = 0
    for seed, shape in enumerate([(16, 3, 3, 8), (60, 40), (200, 5), (1, 500), (12, 1, 1, 60)] * 4):
        layers = lay_out([("only", shape)])
        theta = some_theta(layers, density=0.05 + 0.1 * (seed % 3), seed=seed)
        budget = int((1.1 + 0.3 * (seed % 4)) * int((theta > 0).sum()))
        ordinary = theta.clone()
        sample_connectivity(
            ordinary,
            layers,
            budget=budget,
            strategy=STRATEGIES["weighted"],
            options=StrategyOptions(search=Search(ties="first")),
            generator=generator(seed, "test"),
        )
        if int(sample(theta, layers, budget, "weighted", ties="first").late) == 0:
            assert torch.equal(theta, ordinary)
            compared += 1
    assert compared >= 15


@pytest.mark.parametrize("strategy", STATIC_STRATEGIES)
def test_usual_steps_leave_nothing_late(strategy):
    layers = lay_out([("conv", (64, 3, 3, 64)), ("dense", (128, 256))])
    theta = some_theta(layers, density=0.03)
    living = int((theta > 0).sum())
    births = living // 20
    result = sample(theta, layers, living + births, strategy, capacity=births)
    assert int(result.late) == 0
    assert int(result.births.sum()) == births


def test_noise_reaches_exactly_the_entries_connected_before():
    layers = lay_out([("dense", (400, 500))])
    theta = torch.zeros(200_000, dtype=torch.float64)
    was = torch.zeros(200_000, dtype=torch.bool)
    was[::2] = True
    theta[::2] = 1.0
    births = theta.clone()
    sample(births, layers, 100_003)
    assert (births == BIRTH).sum() == 3  # in float64, too
    sample(theta, layers, 100_000, was_connected=was, lr=0.1)
    assert theta[1::2].eq(0).all()
    assert (theta[::2] - 1).std().item() == pytest.approx(1e-7, rel=0.02)


def test_the_same_generator_gives_the_same_step():
    layers = lay_out(SHAPES)
    for strategy in STATIC_STRATEGIES:
        thetas = [some_theta(layers) for _ in range(3)]
        for theta, seed in zip(thetas, (1, 1, 2), strict=True):
            sample(theta, layers, 300, strategy, seed=seed, lr=0.1)
        assert torch.equal(thetas[0], thetas[1])
        assert not torch.equal(thetas[0], thetas[2])


def test_which_strategies_have_a_static_form():
    eq3 = StrategyOptions(search=Search(metric="eq3"))
    assert [name for name in STRATEGIES if is_static(name, StrategyOptions())] == sorted(
        STATIC_STRATEGIES
    )
    assert is_static("random", eq3)
    assert not is_static("l2", eq3)
    assert set(STATIC_STRATEGIES) <= set(STRATEGIES)
