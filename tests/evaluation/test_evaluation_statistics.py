from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from rewire.errors import InputError
from rewire.evaluation.statistics import mean_interval, wilson_interval


@pytest.mark.parametrize("values", [[84.9, 85.1], [71.2, 70.9, 71.6, 70.8, 71.0], list(range(30))])
def test_mean_interval_equals_scipy(values):
    mean, half = mean_interval(values)
    low, high = scipy.stats.t.interval(
        0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values)
    )
    assert mean - half == pytest.approx(low, rel=1e-9)
    assert mean + half == pytest.approx(high, rel=1e-9)


def test_one_value_has_no_interval():
    assert mean_interval([84.89]) == (84.89, None)
    assert mean_interval([3, 3, 3]) == (3.0, 0.0)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_no_interval_for_no_numbers(values):
    with pytest.raises(InputError, match="no interval"):
        mean_interval(values)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (4074, 10_000), (1, 3), (8491, 10_000)])
def test_wilson_interval_equals_scipy(k, n):
    expected = scipy.stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_interval_refuses_other_counts(k, n):
    with pytest.raises(InputError, match=f"{k} of {n}"):
        wilson_interval(k, n)


def test_importing_the_module_does_not_import_scipy():
    code = "import sys, rewire.evaluation.statistics; assert 'scipy' not in sys.modules"
    path = [entry for entry in sys.path if entry]
    subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {path}; {code}"], check=True)
