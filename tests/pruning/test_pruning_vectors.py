"""Removal of whole vectors, and weights that move: against loops over vectors."""

from __future__ import annotations

import numpy as np
import pytest

from rewire.connectivity.sampling import BIRTH
from rewire.errors import InputError
from rewire.pruning.lonely import prune_lonely
from rewire.registry import PRUNINGS
from rewire.structure.vectors import vector_counts, zero_vectors

SHAPES = {"conv0": (8, 3, 3, 2), "conv1": (6, 3, 3, 8), "dense0": (5, 40), "dense1": (3, 5)}


def network(seed: int = 0, share: float = 0.3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: np.where(rng.random(shape) < share, rng.normal(size=shape), 0).astype(np.float32)
        for name, shape in SHAPES.items()
    }


def columns(weights):
    return {name: weight.reshape(len(weight), -1) for name, weight in weights.items()}


def ranked_by_hand(weights, order):
    """(layer, vector) of all vectors with a connection, the poorest first."""
    found = []
    for name, matrix in columns(weights).items():
        living = [v for v in range(matrix.shape[1]) if any(matrix[:, v] != 0)]
        mean = sum(float(abs(matrix[:, v].astype(float)).sum()) for v in living) / len(living)
        for v in living:
            strength = float(abs(matrix[:, v].astype(float)).sum()) / mean
            key = (sum(matrix[:, v] != 0), strength) if order == "connections" else (strength,)
            found.append((key, name, v))
    return [(name, v) for _, name, v in sorted(found, key=lambda one: one[0])]


def emptied(weights, vectors):
    result = {name: weight.copy() for name, weight in weights.items()}
    for name, v in vectors:
        columns(result)[name][:, v] = 0
    return result


@pytest.mark.parametrize("order", ["connections", "strength"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("empty", [0.0, 0.35, 0.8, 1.0])
def test_poorest_equals_a_loop_over_vectors(seed, empty, order):
    weights, untouched = network(seed), network(seed)
    pruned = PRUNINGS.build("poorest", zero_vectors=empty, order=order)(weights)
    total = sum(matrix.shape[1] for matrix in columns(weights).values())
    before = sum(map(zero_vectors, weights.values()))
    asked = max(round(empty * total), before)
    expected = emptied(weights, ranked_by_hand(weights, order)[: asked - before])
    np.testing.assert_equal(pruned, expected)
    np.testing.assert_equal(weights, untouched)
    assert sum(map(zero_vectors, pruned.values())) == asked
    assert [w.dtype for w in pruned.values()] == [np.float32] * 4


def test_poorest_begins_with_the_lonely_weights():
    weights = network()
    lonely = prune_lonely(weights)
    share = sum(map(zero_vectors, lonely.values())) / sum(w[0].size for w in weights.values())
    np.testing.assert_equal(PRUNINGS.build("poorest", zero_vectors=share)(weights), lonely)


@pytest.mark.parametrize("order", ["connections", "strength"])
@pytest.mark.parametrize("sparsity", [0.5, 0.75, 0.9, 0.99])
def test_sparser_keeps_exactly_the_budget(sparsity, order):
    weights = network(1)
    pruned = PRUNINGS.build("sparser", sparsity=sparsity, order=order)(weights)
    size = sum(weight.size for weight in weights.values())
    before = sum(map(np.count_nonzero, weights.values()))
    kept = min(before, int(np.floor(size * (1 - sparsity) + 1e-9)))
    assert sum(map(np.count_nonzero, pruned.values())) == kept
    # Of all vectors in their order, those that come first are empty, and only one is cut in two.
    order_of = ranked_by_hand(weights, order)
    left = [np.count_nonzero(columns(pruned)[name][:, v]) for name, v in order_of]
    whole = [np.count_nonzero(columns(weights)[name][:, v]) for name, v in order_of]
    gone = next(i for i, count in enumerate([*left, 1]) if count)
    assert left[:gone] == [0] * gone
    assert left[gone + 1 :] == whole[gone + 1 :]
    if gone < len(left):
        name, v = order_of[gone]
        old, new = columns(weights)[name][:, v], columns(pruned)[name][:, v]
        lost = np.abs(old[(old != 0) & (new == 0)])
        assert all(lost <= np.abs(new[new != 0]).min())


def moved_by_hand(weights, most):
    result = {name: weight.copy() for name, weight in weights.items()}
    for matrix in columns(result).values():
        counts = [int((matrix[:, v] != 0).sum()) for v in range(matrix.shape[1])]
        moving = [
            (o, np.sign(matrix[o, v]), v)
            for o in range(matrix.shape[0])
            for v in range(matrix.shape[1])
            if matrix[o, v] != 0 and counts[v] <= most
        ]
        for _, _, v in moving:
            matrix[:, v] = 0
        for o, sign, _ in moving:
            rich = [v for v in range(len(counts)) if counts[v] > most and matrix[o, v] == 0]
            if rich:
                matrix[o, max(rich, key=lambda v: (counts[v], -v))] = sign * np.float32(BIRTH)
    return result


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_moved_equals_a_loop_over_weights(seed, most):
    weights, untouched = network(seed), network(seed)
    moved = PRUNINGS.build("moved", most=most)(weights)
    np.testing.assert_equal(moved, moved_by_hand(weights, most))
    np.testing.assert_equal(weights, untouched)
    for name, weight in moved.items():
        assert not ((vector_counts(weight) > 0) & (vector_counts(weight) <= most)).any()
        assert zero_vectors(weight) > zero_vectors(weights[name]) or name == "dense1"


def test_what_moves_stays_with_its_output():
    weight = np.zeros((3, 4), np.float32)
    weight[:2, 0], weight[1, 1], weight[2, 3] = 2, -5, 4
    moved = PRUNINGS.build("moved")({"dense": weight})["dense"]
    expected = np.zeros((3, 4), np.float32)
    expected[:2, 0] = 2  # output 1 is connected there already: its other weight is lost
    expected[2, 0] = np.float32(BIRTH)
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("poorest", "zero_vectors", 1.5),
        ("poorest", "order", "size"),
        ("sparser", "sparsity", 1),
        ("moved", "most", 0),
    ],
)
def test_a_value_that_is_not_allowed_is_named(name, option, value):
    with pytest.raises(InputError, match=f"{option} is .*Allowed"):
        PRUNINGS.build(name, **{option: value})


def test_an_empty_layer_has_nothing_to_lose():
    weights = {"first": np.zeros((2, 3)), "last": np.eye(3)}
    pruned = PRUNINGS.build("poorest", zero_vectors=0.6)(weights)
    assert sum(map(zero_vectors, pruned.values())) == 4
