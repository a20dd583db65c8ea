"""Chance in the fixed-shape sampling step: layers, positions, sources and ties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from toys_static import TIES, sample, some_theta

from rewire.connectivity.sampling import BIRTH
from rewire.connectivity.static_places import split
from rewire.models.layout import lay_out
from rewire.rng import generator


def plausible(observed, expected=None):
    """Whether counts agree with `expected` (all equal without it): not one chance in 2,000."""
    return chisquare(np.asarray(observed, float), expected).pvalue > 5e-4


def test_births_are_split_in_proportion_to_layer_size():
    sizes, free = torch.tensor([100, 300, 600]), torch.tensor([100, 300, 600])
    draws = torch.rand(400, 3, 50, dtype=torch.float64, generator=generator(0, "test"))
    total = sum(split(torch.tensor(50), sizes=sizes, free=free, draws=d) for d in draws)
    assert int(total.sum()) == 400 * 50
    assert plausible(total, 20.0 * sizes.numpy())


def test_births_beyond_full_layers_go_to_the_others():
    sizes, free = torch.tensor([1000, 10, 10]), torch.tensor([3, 10, 1])
    draws = torch.rand(3, 14, dtype=torch.float64, generator=generator(0, "test"))
    assert split(torch.tensor(14), sizes=sizes, free=free, draws=draws).tolist() == [3, 10, 1]


@pytest.mark.parametrize("density", [0.05, 0.9])
def test_random_entries_are_uniform_over_the_unconnected(density):
    layers = lay_out([("a", (20, 10)), ("b", (4, 3, 3, 5))])
    theta, counts = some_theta(layers, density), torch.zeros(380)
    for seed in range(1500):
        after = theta.clone()
        sample(after, layers, int((theta > 0).sum()) + 4, seed=seed)
        counts += after != theta
    assert counts.sum() == 1500 * 4
    assert counts[theta > 0].sum() == 0
    for layer in layers:
        inside = layer.of(counts)[layer.of(theta) <= 0]
        assert plausible(inside)


def test_entries_taken_by_rank_cover_what_is_left():
    # 200 births into 200 free entries: draws alone would leave some of them.
    layers = lay_out([("a", (20, 10)), ("b", (10, 10))])
    theta = torch.zeros(300)
    theta[200:] = 1.0
    assert int(sample(theta, layers, 300).late) == 0
    assert (theta > 0).all()


def test_sources_of_l2_are_uniform_and_distinct():
    # Entries in a row, far apart: the births beside each say which were sources.
    layers = lay_out([("row", (80, 1))])
    theta = torch.zeros(80)
    theta[4::8] = 1.0
    counts = torch.zeros(10)
    for seed in range(800):
        after = theta.clone()
        sample(after, layers, 13, "l2", seed=seed)
        born = (after == BIRTH).view(10, 8).sum(1)
        assert born.max() == 1
        counts += born
    assert plausible(counts)


def test_sources_are_gone_through_again_where_they_are_too_few():
    layers = lay_out([("row", (1, 31))])
    theta = torch.zeros(31)
    theta[15] = 1.0
    sample(theta, layers, 7, "l2")
    assert (theta > 0).nonzero()[:, 0].tolist() == list(range(12, 19))


def test_random_ties_are_uniform_and_same_vector_ties_stay_in_the_vector():
    layers = lay_out([("dense", (5, 5))])
    theta = torch.zeros(25)
    theta[12] = 1.0
    counts = {ties: torch.zeros(25) for ties in TIES}
    for ties, count in counts.items():
        for seed in range(600):
            after = theta.clone()
            sample(after, layers, 2, "weighted", ties=ties, seed=seed)
            count += after == BIRTH
    assert plausible(counts["random"][[7, 11, 13, 17]])
    assert plausible(counts["same_vector"][[7, 17]])
    assert counts["first"][11] == 600  # input position 1 comes before 2


def test_layers_without_a_connection_are_filled_uniformly():
    layers = lay_out([("empty", (10, 10)), ("living", (10, 10))])
    theta = torch.zeros(200)
    theta[150:170] = 1.0
    counts = torch.zeros(100)
    for seed in range(800):
        after = theta.clone()
        sample(after, layers, 30, "l2", seed=seed)
        counts += after[:100] == BIRTH
    assert counts.sum() == pytest.approx(4000, abs=4 * (8000 * 0.25) ** 0.5)
    assert plausible(counts)
