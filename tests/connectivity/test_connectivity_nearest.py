"""The searches, of the engine and of a GPU, against brute force over every unconnected entry."""

from __future__ import annotations

import os
from typing import get_args
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewire.connectivity.nearest import Search, nearest_unconnected
from rewire.engine.library import CHOICE, instruction_set
from rewire.models.factory import build_model
from rewire.models.layout import lay_out
from rewire.options import Metric, Ties
from rewire.rng import generator

# Without the engine a CPU searches as a GPU does.
BUILDS = [*filter(None, [instruction_set()]), "none"]
METRICS = st.sampled_from(get_args(Metric))


def nearest_by(build, sources, theta, layers, **options):
    with mock.patch.dict(os.environ, {CHOICE: build}):
        return nearest_unconnected(sources, theta, layers, **options)


def distances(metric: str, source: int, entries: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if metric == "matrix":
        shape = (shape[0], int(np.prod(shape[1:])))
    p = np.array(np.unravel_index(source, shape))
    q = np.stack(np.unravel_index(entries, shape), axis=-1)
    if metric != "eq3":
        return ((p - q) ** 2).sum(axis=1)
    return np.abs(p**2 - q**2).sum(axis=1)


def brute_force(sources, theta, shape, n, metric) -> list[int]:
    """Algorithm 1 literally: one source after the other; on ties the first as the reference
    stores a layer, with the outputs as its last axis."""
    stored = np.moveaxis(np.arange(len(theta)).reshape(shape), 0, -1).ravel()
    free = [entry for entry in stored if theta[entry] <= 0]
    chosen = []
    for k in range(n):
        nearest = distances(metric, sources[k % len(sources)], np.array(free), shape).argmin()
        chosen.append(int(free.pop(nearest)))
    return chosen


@st.composite
def layers(draw):
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    size = int(np.prod(shape))
    if size < 2:
        shape, size = (2, 3), 6
    density = draw(st.sampled_from([0.02, 0.3, 0.9, 0.99]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    theta = np.where(rng.random(size) < density, rng.random(size) + 0.1, -rng.random(size))
    theta[0], theta[-1] = 0.5, 0.0  # at least one connected and one unconnected entry
    connected = np.flatnonzero(theta > 0)
    n = min(int(rng.integers(1, size - len(connected) + 1)), 40)
    sources = rng.permutation(connected)[: draw(st.integers(1, len(connected)))]
    return shape, theta.astype(np.float32), sources, n


def search(layer, *, metric, ties, build, seed=0):
    shape, theta, sources, n = layer
    return nearest_by(
        build,
        torch.from_numpy(sources)[torch.arange(n) % len(sources)],
        torch.from_numpy(theta),
        lay_out([("layer", shape)]),
        search=Search(metric, ties),
        generator=generator(seed, "test"),
    ).numpy()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(layer=layers(), metric=METRICS, build=st.sampled_from(BUILDS))
def test_equals_sequential_brute_force(layer, metric, build):
    shape, theta, sources, n = layer
    found = search(layer, metric=metric, ties="first", build=build)
    assert found.tolist() == brute_force(sources, theta, shape, n, metric)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    network=st.lists(layers(), min_size=2, max_size=3),
    metric=METRICS,
    seed=st.integers(0, 1000),
    build=st.sampled_from(BUILDS),
)
def test_layers_asked_together_do_not_see_each_other(network, metric, seed, build):
    together = lay_out((f"layer{i}", shape) for i, (shape, *_) in enumerate(network))
    asking, expected = [], []
    for layer, (shape, theta, sources, n) in zip(together, network, strict=True):
        asking += (layer.offset + sources[np.arange(n) % len(sources)]).tolist()
        alone = brute_force(sources, theta, shape, n, metric)
        expected += [layer.offset + entry for entry in alone]
    # Only the order within a layer matters: mix the layers, keeping it.
    owner = np.repeat(np.arange(len(network)), [n for *_, n in network])
    mixed = np.argsort(np.random.default_rng(seed).permutation(owner), kind="stable")
    mixed = np.argsort(mixed)
    found = nearest_by(
        build,
        torch.tensor(asking)[mixed],
        torch.from_numpy(np.concatenate([theta for _, theta, *_ in network])),
        together,
        search=Search(metric, "first"),
        generator=generator(0, "test"),
    )
    assert found.tolist() == np.array(expected)[mixed].tolist()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    layer=layers(),
    metric=METRICS,
    ties=st.sampled_from(get_args(Ties)),
    build=st.sampled_from(BUILDS),
)
def test_every_tie_rule_takes_distinct_unconnected_entries_at_the_least_distance(
    layer, metric, ties, build
):
    shape, theta, sources, n = layer
    found = search(layer, metric=metric, ties=ties, build=build)
    assert len(set(found.tolist())) == n
    assert (theta[found] <= 0).all()
    # Whatever the tie rule, source k took something as near as the best that was left to it.
    free = np.flatnonzero(theta <= 0)
    for k, entry in enumerate(found):
        left = np.setdiff1d(free, found[:k])
        best = distances(metric, sources[k % len(sources)], left, shape).min()
        assert distances(metric, sources[k % len(sources)], np.array([entry]), shape)[0] == best


@pytest.mark.parametrize("build", BUILDS)
def test_random_ties_are_uniform_over_the_nearest(build):
    theta = torch.zeros(25)
    theta[12] = 1.0  # the centre of a 5×5 layer: four neighbours at distance 1
    counts = np.zeros(25, int)
    for seed in range(2000):
        layer = ((5, 5), theta.numpy(), np.array([12]), 1)
        counts[search(layer, metric="euclidean", ties="random", seed=seed, build=build)[0]] += 1
    assert set(np.flatnonzero(counts)) == {7, 11, 13, 17}
    assert (np.abs(counts[[7, 11, 13, 17]] - 500) < 4 * np.sqrt(2000 * 0.25 * 0.75)).all()


@pytest.mark.parametrize("build", BUILDS)
def test_same_vector_ties_stay_in_the_vector(build):
    # Stored (out, in): neighbours 7 and 17 differ in `out` alone, so they share its vector.
    theta = np.zeros(25, np.float32)
    theta[12] = 1.0
    found = {
        int(search(((5, 5), theta, np.array([12]), 1), metric="euclidean", ties="same_vector",
                   seed=seed, build=build)[0])
        for seed in range(50)
    }  # fmt: skip
    assert found == {7, 17}


def network(sparsity: float):
    """(layers, θ, its connected entries in random order) of a VGG11 of an eighth of the width."""
    layers = build_model("vgg11", sparsity=sparsity, seed=1, width=0.125).layers
    random = generator(2, "test")
    theta = torch.rand(layers[-1].span.stop, generator=random) - sparsity
    connected = (theta > 0).nonzero()[:, 0]
    return layers, theta, connected[torch.randperm(len(connected), generator=random)]


@pytest.mark.parametrize("metric", get_args(Metric))
@pytest.mark.parametrize("sparsity", [0.99, 0.5])
def test_all_builds_find_the_entries_of_a_network_that_a_gpu_finds(metric, sparsity):
    layers, theta, sources = network(sparsity)
    found = {
        build: nearest_by(
            build,
            sources[:3000],
            theta,
            layers,
            search=Search(metric, "first"),
            generator=generator(0, "test"),
        ).tolist()
        for build in BUILDS
    }
    for build in BUILDS:
        assert found[build] == found["none"], build


def test_random_ties_depend_on_the_generator_alone():
    layers, theta, sources = network(0.95)

    def found(threads: int, seed: int) -> list[int]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            random = generator(seed, "test")
            return nearest_unconnected(
                sources, theta, layers, search=Search(), generator=random
            ).tolist()
        finally:
            torch.set_num_threads(before)

    assert found(1, seed=3) == found(2, seed=3)
    assert found(1, seed=3) != found(1, seed=4)


@pytest.mark.parametrize("build", BUILDS)
def test_more_sources_than_unconnected_entries_are_refused(build):
    with pytest.raises(AssertionError, match="more sources than unconnected entries"):
        search(((2, 3), np.array([1, 1, 1, 1, 1, 0], np.float32), np.array([2]), 2),
               metric="euclidean", ties="random", build=build)  # fmt: skip


def test_float64_is_searched_as_well():
    theta = np.array([0.5, 1e-300, -1.0, -1.0])  # the second one would be 0 in float32
    for build in BUILDS:
        layer = ((4,), theta, np.array([0]), 1)
        assert search(layer, metric="euclidean", ties="random", build=build) == [2]
