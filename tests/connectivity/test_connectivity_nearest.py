"""The windowed search against brute force over every unconnected entry."""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewire.connectivity.nearest import Search, nearest_unconnected
from rewire.models.layout import lay_out
from rewire.options import Metric, Ties
from rewire.rng import generator


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


def search(layer, *, metric, ties, seed=0):
    shape, theta, sources, n = layer
    return nearest_unconnected(
        torch.from_numpy(sources)[torch.arange(n) % len(sources)],
        torch.from_numpy(theta),
        lay_out([("layer", shape)]),
        search=Search(metric, ties),
        generator=generator(seed, "test"),
    ).numpy()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(layer=layers(), metric=st.sampled_from(get_args(Metric)))
def test_equals_sequential_brute_force(layer, metric):
    shape, theta, sources, n = layer
    found = search(layer, metric=metric, ties="first")
    assert found.tolist() == brute_force(sources, theta, shape, n, metric)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    network=st.lists(layers(), min_size=2, max_size=3),
    metric=st.sampled_from(get_args(Metric)),
    seed=st.integers(0, 1000),
)
def test_layers_asked_together_do_not_see_each_other(network, metric, seed):
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
    found = nearest_unconnected(
        torch.tensor(asking)[mixed],
        torch.from_numpy(np.concatenate([theta for _, theta, *_ in network])),
        together,
        search=Search(metric, "first"),
        generator=generator(0, "test"),
    )
    assert found.tolist() == np.array(expected)[mixed].tolist()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    layer=layers(), metric=st.sampled_from(get_args(Metric)), ties=st.sampled_from(get_args(Ties))
)
def test_every_tie_rule_takes_distinct_unconnected_entries_at_the_least_distance(
    layer, metric, ties
):
    shape, theta, sources, n = layer
    found = search(layer, metric=metric, ties=ties)
    assert len(set(found.tolist())) == n
    assert (theta[found] <= 0).all()
    # Whatever the tie rule, source k took something as near as the best that was left to it.
    free = np.flatnonzero(theta <= 0)
    for k, entry in enumerate(found):
        left = np.setdiff1d(free, found[:k])
        best = distances(metric, sources[k % len(sources)], left, shape).min()
        assert distances(metric, sources[k % len(sources)], np.array([entry]), shape)[0] == best


def test_random_ties_are_uniform_over_the_nearest():
    theta = torch.zeros(25)
    theta[12] = 1.0  # the centre of a 5×5 layer: four neighbours at distance 1
    counts = np.zeros(25, int)
    for seed in range(2000):
        layer = ((5, 5), theta.numpy(), np.array([12]), 1)
        counts[search(layer, metric="euclidean", ties="random", seed=seed)[0]] += 1
    assert set(np.flatnonzero(counts)) == {7, 11, 13, 17}
    assert (np.abs(counts[[7, 11, 13, 17]] - 500) < 4 * np.sqrt(2000 * 0.25 * 0.75)).all()


def test_same_vector_ties_stay_in_the_vector():
    # Stored (out, in): neighbours 7 and 17 differ in `out` alone, so they share its vector.
    theta = np.zeros(25, np.float32)
    theta[12] = 1.0
    found = {
        int(search(((5, 5), theta, np.array([12]), 1), metric="euclidean", ties="same_vector",
                   seed=seed)[0])
        for seed in range(50)
    }  # fmt: skip
    assert found == {7, 17}
