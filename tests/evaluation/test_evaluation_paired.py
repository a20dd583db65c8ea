"""Paired statistics against literal, exact and closed-form oracles."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats

from rewire.errors import InputError
from rewire.evaluation.paired import (
    align,
    equivalence,
    hierarchical_bootstrap,
    holm,
    mcnemar,
    resampled_differences,
)


def vectors(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Two bool vectors with these four counts, shuffled."""
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    order = np.random.default_rng(0).permutation(len(a))
    return a[order], b[order]


def strategies(seeds: int, images: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two strategies whose seeds, images and single answers all matter."""
    random = np.random.default_rng(seed)
    image = random.normal(size=images)
    a, b = (
        image + 0.4 * random.normal(size=(seeds, 1)) + random.normal(size=(seeds, images))
        for _ in range(2)
    )
    return a > -0.5, b > -0.3


@pytest.mark.parametrize(("only_a", "only_b"), [(1, 0), (0, 6), (3, 9), (5, 4), (7, 7), (40, 21)])
def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_images(only_a, only_b):
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    expected = float(min(Fraction(1), Fraction(2 * tail, 2**n)))
    found = mcnemar(*vectors(11, only_a, only_b, 5))
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.p == pytest.approx(expected, rel=1e-12)
    assert found.p == pytest.approx(scipy.stats.binomtest(only_a, n).pvalue, rel=1e-10)


def test_mcnemar_at_the_size_of_a_test_set():
    found = mcnemar(*vectors(6000, 900, 700, 2400))
    assert found.p == pytest.approx(scipy.stats.binomtest(700, 1600).pvalue, rel=1e-9)


def test_mcnemar_of_networks_that_never_disagree():
    found = mcnemar(*vectors(4, 0, 0, 3))
    assert (found.only_a, found.only_b, found.p) == (0, 0, 1.0)


def test_draws_have_exactly_the_distribution_of_all_resamples():
    a = np.array([[True, True, False], [True, False, False]])
    b = np.array([[False, True, True], [False, False, False]])
    difference = a.astype(int) - b
    resamples = Counter(
        int(difference[np.ix_(seeds, images)].sum())
        for seeds in itertools.product(range(2), repeat=2)
        for images in itertools.product(range(3), repeat=3)
    )
    draws = 200_000
    values = resampled_differences(a, b, seed=3, draws=draws, smooth=False)
    counted = Counter(np.rint(values * 6 / 100).astype(int).tolist())
    assert set(counted) == set(resamples)
    for total, ways in resamples.items():
        share = ways / (4 * 27)
        error = math.sqrt(share * (1 - share) / draws)
        assert counted[total] / draws == pytest.approx(share, abs=4 * error)


@pytest.mark.parametrize("smooth", [False, True])
def test_draws_follow_a_literal_bootstrap(smooth):
    a, b = strategies(3, 40)
    difference = a.astype(int) - b
    if smooth:  # one image that only a, and one that only b gets right
        difference = np.c_[difference, np.ones(3, int), -np.ones(3, int)]
    random, draws = np.random.default_rng(11), 10_000
    seeds, images = difference.shape
    literal = [
        100
        * difference[
            np.ix_(random.integers(seeds, size=seeds), random.integers(images, size=images))
        ].mean()
        for _ in range(draws)
    ]
    values = resampled_differences(a, b, seed=5, draws=draws, smooth=smooth)
    # Both are multiples of one step; halves of it apart from rounding.
    apart = scipy.stats.ks_2samp(np.round(literal, 6), np.round(values, 6)).statistic
    assert apart < 1.95 * math.sqrt(2 / draws)  # 0.1 % critical value


@pytest.mark.parametrize(("seeds", "images"), [(1, 500), (2, 300), (5, 400)])
def test_draws_have_the_variance_of_the_closed_form(seeds, images):
    a, b = strategies(seeds, images, seed=seeds)
    values = resampled_differences(a, b, seed=1, draws=40_000, smooth=False)
    d = a.astype(float) - b
    of_seed, of_image = d.mean(1, keepdims=True), d.mean(0, keepdims=True)
    rest = d - of_seed - of_image + d.mean()
    variance = of_seed.var() / seeds + of_image.var() / images + rest.var() / (seeds * images)
    assert values.std() == pytest.approx(100 * math.sqrt(variance), rel=0.02)
    assert values.mean() == pytest.approx(100 * d.mean(), abs=4 * values.std() / 200)


def test_one_seed_gives_the_standard_error_of_a_paired_difference():
    a, b = vectors(6000, 700, 500, 2800)
    found = hierarchical_bootstrap(a[None], b[None], seed=0, draws=40_000)
    n = 10_000
    error = 100 * math.sqrt(1200 - 200**2 / n) / n
    assert found.difference == 2.0
    assert (found.varies, found.seeds, found.images) == ("images", 1, n)
    assert found.ci95 == pytest.approx((2 - 1.96 * error, 2 + 1.96 * error), abs=0.03)
    assert found.ci90 == pytest.approx((2 - 1.645 * error, 2 + 1.645 * error), abs=0.03)
    # Unpaired, the interval would be almost twice as wide.
    assert found.ci95[1] - found.ci95[0] < 0.55 * 2 * 1.96 * 100 * math.sqrt(2 * 0.22 / n)


def test_several_seeds_widen_what_one_image_sample_would_hide():
    a, b = strategies(4, 300)
    several = hierarchical_bootstrap(a, b, seed=0)
    assert (several.varies, several.seeds, several.images) == ("seeds and images", 4, 300)
    assert several.difference == pytest.approx(100 * (a.mean() - b.mean()))
    assert several.ci95[0] < several.ci90[0] < several.difference
    assert several.difference < several.ci90[1] < several.ci95[1]
    # Seeds that disagree only with each other: nothing but the seeds varies.
    ones, half = np.ones((2, 50), bool), np.zeros((2, 50), bool)
    half[0] = True
    values = resampled_differences(ones, half, seed=0, draws=4000, smooth=False)
    assert sorted(set(values)) == [0.0, 50.0, 100.0]
    assert np.mean(values == 50) == pytest.approx(0.5, abs=0.04)


def test_p_value_belongs_to_the_interval():
    for shift in range(12):
        a, b = vectors(60, 8 + shift, 8, 100)
        found = hierarchical_bootstrap(a[None], b[None], seed=2, draws=2000)
        mirrored = hierarchical_bootstrap(b[None], a[None], seed=2, draws=2000)
        excluded = found.ci95[0] > 0
        assert (found.p < 0.05) == excluded or found.p == pytest.approx(0.05, abs=0.01)
        assert mirrored.p == pytest.approx(found.p, abs=0.05)
    sure = hierarchical_bootstrap(np.ones((1, 900), bool), np.zeros((1, 900), bool), seed=0)
    assert sure.p == 2 / 10_001


def test_few_discordant_images_decide_nothing():
    a, b = vectors(40, 0, 0, 60)
    assert np.ptp(resampled_differences(a[None], b[None], seed=0, smooth=False)) == 0
    few = hierarchical_bootstrap(a[None], b[None], seed=0)
    assert equivalence(few.ci90, ci95=few.ci95) == "undecided"
    many = hierarchical_bootstrap(*(np.tile(x, 100)[None] for x in (a, b)), seed=0)
    assert equivalence(many.ci90, ci95=many.ci95) == "equivalent within 0.5 points"
    # Five to none: McNemar's p is 1/16, the plain bootstrap excludes 0.
    a, b = vectors(40, 5, 0, 55)
    assert mcnemar(a, b).p == pytest.approx(0.0625)
    assert hierarchical_bootstrap(a[None], b[None], seed=0, smooth=False).ci95[0] > 0
    assert hierarchical_bootstrap(a[None], b[None], seed=0).ci95[0] <= 0


def test_equal_seeds_give_equal_intervals_whatever_the_block_size(monkeypatch):
    a, b = strategies(4, 200)
    first = hierarchical_bootstrap(a, b, seed=9, draws=3000)
    assert first == hierarchical_bootstrap(a, b, seed=9, draws=3000)
    assert first != hierarchical_bootstrap(a, b, seed=10, draws=3000)
    monkeypatch.setattr("rewire.evaluation.paired._BLOCK", 1000)
    assert first == hierarchical_bootstrap(a, b, seed=9, draws=3000)


def test_the_order_of_images_changes_nothing():
    a, b = strategies(3, 150)
    order = np.random.default_rng(1).permutation(150)
    assert hierarchical_bootstrap(a, b, seed=0) == hierarchical_bootstrap(
        a[:, order], b[:, order], seed=0
    )


@pytest.mark.parametrize(
    ("ci90", "ci95", "verdict"),
    [
        ((-0.3, 0.4), (-0.4, 0.49), "equivalent within 0.5 points"),
        ((-0.3, 0.4), (-0.6, 0.7), "equivalent within 0.5 points"),
        ((0.2, 0.4), (0.1, 0.45), "different, but equivalent within 0.5 points"),
        ((-0.4, -0.2), (-0.45, -0.1), "different, but equivalent within 0.5 points"),
        ((0.6, 1.4), (0.5, 1.5), "different"),
        ((-1.4, -0.1), (-1.5, -0.05), "different"),
        ((-0.3, 0.5), (-0.4, 0.6), "undecided"),
        ((-0.5, 0.3), (-0.6, 0.4), "undecided"),
        ((0.1, 0.9), (0.0, 1.0), "undecided"),
    ],
)
def test_verdicts(ci90, ci95, verdict):
    assert equivalence(ci90, ci95=ci95) == verdict


def test_margin_is_named_and_checked():
    assert equivalence((-0.9, 0.9), ci95=(-1, 1), margin=2) == "equivalent within 2 points"
    for margin in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match="margin is"):
            equivalence((0, 0), ci95=(0, 0), margin=margin)


def test_holm_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(InputError, match="0 to 1"):
        holm([0.5, 1.5])


def test_holm_rejects_what_the_step_down_procedure_rejects():
    p = np.random.default_rng(0).random(30) ** 4
    order = np.argsort(p)
    rejected = set()
    for rank, i in enumerate(order):
        if p[i] > 0.05 / (30 - rank):
            break
        rejected.add(int(i))
    assert 0 < len(rejected) < np.sum(p <= 0.05)
    assert {i for i, value in enumerate(holm(p.tolist())) if value <= 0.05} == rejected


def ledger(indices, labels=None, **arrays) -> dict[str, np.ndarray]:
    indices = np.array(indices)
    labels = indices % 10 if labels is None else np.array(labels)
    return {"indices": indices, "labels": labels, **arrays}


def test_aligned_ledgers_hold_the_common_images_in_order():
    first = ledger([7, 1, 5, 3], correct=np.array([70, 10, 50, 30]))
    second = ledger([5, 9, 7, 1], correct=np.array([500, 900, 700, 100]))
    found = align({"a": first, "b": second})
    assert found["a"]["indices"].tolist() == found["b"]["indices"].tolist() == [1, 5, 7]
    assert found["a"]["correct"].tolist() == [10, 50, 70]
    assert found["b"]["correct"].tolist() == [100, 500, 700]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (ledger([2, 4]), "no image in common: a; b"),
        (ledger([]), "no image in common"),
        (
            ledger([1, 3], labels=[1, 8]),
            "image 3 has label 8 in the ledger of b and 3 in that of a",
        ),
        (ledger([1, 1, 3]), "ledger of b has an image twice"),
        ({"indices": np.array([1])}, "ledger of b lacks labels"),
    ],
)
def test_ledgers_that_cannot_be_compared(other, message):
    with pytest.raises(InputError, match=message):
        align({"a": ledger([1, 3]), "b": other})


def test_arrays_that_cannot_be_compared():
    ones = np.ones(4, bool)
    for a, b in ((ones, ones[:3]), (ones[None], ones[None]), (ones[:0], ones[:0])):
        with pytest.raises(InputError, match="shapes"):
            mcnemar(a, b)
    for a, b in ((ones, ones), (ones[None], ones[None, :3]), (ones[None, :0], ones[None, :0])):
        with pytest.raises(InputError, match=r"\(seeds, images\)"):
            hierarchical_bootstrap(a, b, seed=0)
    with pytest.raises(InputError, match="Allowed: bool"):
        mcnemar(ones, ones.astype(int))
    with pytest.raises(InputError, match="draws is 0"):
        hierarchical_bootstrap(ones[None], ones[None], seed=0, draws=0)


def test_importing_the_module_does_not_import_scipy():
    code = "import sys, rewire.evaluation.paired; assert 'scipy' not in sys.modules"
    path = [entry for entry in sys.path if entry]
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {path}; {code}"], check=True)
