"""Vectors against brute force over TensorFlow's HWIO layout, where a vector is the last axis."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewire.errors import InputError
from rewire.structure.report import StructureReport, Zeros, structure_report
from rewire.structure.vectors import as_matrix, lonely_mask, vector_counts, zero_vectors

CONVS = [(3, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512, 512), (512, 512)]
DENSES = [(2048, 256), (256, 256), (256, 10)]
VGG11 = {f"conv{i}": (o, 3, 3, n) for i, (n, o) in enumerate(CONVS)} | {
    f"dense{i}": (o, n) for i, (n, o) in enumerate(DENSES)
}


def to_tensorflow(weight: np.ndarray) -> np.ndarray:
    """(out, kh, kw, in) -> HWIO, (out, in) -> (in, out)."""
    return weight.transpose(1, 2, 3, 0) if weight.ndim == 4 else weight.T


def counted_by_hand(weight: np.ndarray, threshold: float) -> list[int]:
    layout = to_tensorflow(weight)
    counts = []
    for place in np.ndindex(layout.shape[:-1]):
        count = 0
        for value in layout[place]:
            count += abs(float(value)) > threshold
        counts.append(count)
    return counts


def lonely_by_hand(weight: np.ndarray) -> np.ndarray:
    layout = to_tensorflow(weight)
    mask = np.zeros(layout.shape, bool)
    for place in np.ndindex(layout.shape):
        others = sum(value != 0 for value in layout[place[:-1]])
        mask[place] = layout[place] != 0 and others == 1
    return mask.transpose(3, 0, 1, 2) if mask.ndim == 4 else mask.T


@st.composite
def sparse_weights(draw: st.DrawFn) -> np.ndarray:
    shape = draw(
        st.one_of(
            st.tuples(*[st.integers(1, 5)] * 2),
            st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = rng.choice([0.0, 1e-12, -1e-12, 0.5, -0.5], size=shape, p=[0.7, 0.05, 0.05, 0.1, 0.1])
    return weight.astype(np.float32)


@given(weight=sparse_weights(), threshold=st.sampled_from([0.0, 1e-6]))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_counts_equal_brute_force_over_hwio(weight: np.ndarray, threshold: float) -> None:
    expected = counted_by_hand(weight, threshold)
    counts = vector_counts(weight, threshold=threshold)
    assert counts.tolist() == expected
    assert counts.dtype == np.int64
    assert zero_vectors(weight, threshold=threshold) == expected.count(0)


@given(weight=sparse_weights())
@settings(max_examples=80, deadline=None, derandomize=True)
def test_lonely_mask_equals_brute_force(weight: np.ndarray) -> None:
    np.testing.assert_array_equal(lonely_mask(weight), lonely_by_hand(weight))


def test_vgg11_has_the_vectors_of_the_thesis() -> None:
    report = structure_report({name: np.zeros(shape, np.float16) for name, shape in VGG11.items()})
    assert report.zero_vectors == Zeros(count=22_747, total=22_747, percent=100.0)
    assert report.size == 9_810_112
    totals = [layer.zero_vectors.total for layer in report.layers]
    assert totals == [27, 576, 1152, 2304, 2304, 4608, 4608, 4608, 2048, 256, 256]


def test_uniform_one_percent_density_leaves_4_13_percent_of_vgg11s_vectors_empty() -> None:
    rng = np.random.default_rng(0)
    weights = {name: rng.random(shape, np.float32) < 0.01 for name, shape in VGG11.items()}
    expected, variance, total = 0.0, 0.0, 0
    for shape in VGG11.values():
        vectors, chance = np.prod(shape[1:]), 0.99 ** shape[0]
        expected += vectors * chance
        variance += vectors * chance * (1 - chance)
        total += vectors
    report = structure_report(weights)
    assert 100 * expected / total == pytest.approx(4.13, abs=0.005)
    assert abs(report.zero_vectors.count - expected) < 3 * variance**0.5
    assert report.density_percent == pytest.approx(1.0, abs=0.01)


def test_report_of_a_network_small_enough_to_count() -> None:
    dense = np.array([[0, 2.0, 0, 1.0], [0, 3.0, 1e-12, 0]])
    conv = np.zeros((2, 1, 2, 1))
    conv[0, 0, 0, 0] = -1.0
    record = structure_report({"conv": conv, "dense": dense}, growth=6, budget=4)
    report = record.as_json()
    assert report["zero_vectors"] == {"count": 2, "total": 6, "percent": pytest.approx(100 / 3)}
    assert report["zero_vectors_above_1e-6"] == {"count": 3, "total": 6, "percent": 50.0}
    assert (report["connected"], report["size"]) == (5, 12)
    assert report["density_percent"] == pytest.approx(500 / 12)
    assert (report["births"], report["budget"], report["turnover"]) == (6, 4, 1.5)
    assert report["histogram"] == {"connected": [0, 1, 2], "vectors": [2, 3, 1]}
    assert report["layers"][0] == {
        "name": "conv",
        "shape": [2, 1, 2, 1],
        "zero_vectors": {"count": 1, "total": 2, "percent": 50.0},
        "zero_vectors_above_1e-6": {"count": 1, "total": 2, "percent": 50.0},
        "connected": 1,
        "size": 4,
        "density_percent": 25.0,
    }
    assert report["layers"][1]["zero_vectors"]["count"] == 1
    assert report["layers"][1]["zero_vectors_above_1e-6"]["count"] == 2
    assert StructureReport.of(json.loads(json.dumps(report)), file="report.json") == record
    assert list(report) == [
        "zero_vectors", "zero_vectors_above_1e-6", "connected", "size", "density_percent",
        "births", "budget", "turnover", "histogram", "layers",
    ]  # fmt: skip
    assert list(report["layers"][0])[:3] == ["name", "shape", "zero_vectors"]


@pytest.mark.parametrize(("growth", "budget"), [(None, 4), (3, None), (None, None)])
def test_turnover_is_unknown_unless_growth_and_budget_are_known(growth, budget) -> None:
    report = structure_report({"dense": np.eye(2)}, growth=growth, budget=budget)
    assert report.turnover is None
    assert (report.growth, report.budget) == (growth, budget)


def test_no_birth_is_a_turnover_of_zero() -> None:
    assert structure_report({"dense": np.eye(2)}, growth=0, budget=2).turnover == 0.0


def test_a_diverged_weight_is_not_an_absent_one() -> None:
    assert vector_counts(np.array([[np.nan, 0.0]])).tolist() == [1, 0]


def test_impossible_input_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"\(3,\)"):
        as_matrix(np.zeros(3))
    with pytest.raises(InputError, match=r"\(0, 2\)"):
        as_matrix(np.zeros((0, 2)))
    with pytest.raises(InputError, match="no weights"):
        structure_report({})
    with pytest.raises(InputError, match="budget 0"):
        structure_report({"dense": np.eye(2)}, growth=1, budget=0)
