"""Removal of weights that are alone in their vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from rewire.errors import InputError
from rewire.pruning.lonely import prune_lonely
from rewire.structure.vectors import vector_counts, zero_vectors

ROOT = Path(__file__).parents[2]


def network(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"conv0": (8, 3, 3, 2), "conv1": (6, 3, 3, 8), "dense0": (5, 40), "dense1": (3, 5)}
    return {
        name: np.where(rng.random(shape) < 0.2, rng.normal(size=shape), 0).astype(np.float32)
        for name, shape in shapes.items()
    }


def pruned_by_hand(weight: np.ndarray) -> np.ndarray:
    """Loop over all vectors of a copy."""
    columns = weight.copy().reshape(weight.shape[0], -1)
    for vector in range(columns.shape[1]):
        if sum(value != 0 for value in columns[:, vector]) == 1:
            columns[:, vector] = 0
    return columns.reshape(weight.shape)


@pytest.mark.parametrize("seed", range(5))
def test_all_layers_equal_a_loop_over_vectors(seed: int) -> None:
    weights = network(seed)
    pruned, removed = prune_lonely(weights)
    assert list(pruned) == list(removed) == list(weights)
    for name, weight in weights.items():
        np.testing.assert_array_equal(pruned[name], pruned_by_hand(weight))
        assert pruned[name].dtype == weight.dtype
        assert removed[name] == np.count_nonzero(weight) - np.count_nonzero(pruned[name])
        assert removed[name] == np.count_nonzero(vector_counts(weight) == 1)
    assert sum(removed.values()) > 0


def test_each_removed_weight_leaves_one_more_zero_vector_and_a_second_pass_nothing() -> None:
    weights = network()
    pruned, removed = prune_lonely(weights)
    for name in weights:
        assert zero_vectors(pruned[name]) == zero_vectors(weights[name]) + removed[name]
        assert not (vector_counts(pruned[name]) == 1).any()
    again, removed_again = prune_lonely(pruned)
    assert set(removed_again.values()) == {0}
    np.testing.assert_equal(again, pruned)


@pytest.mark.parametrize(
    ("layers", "selected"),
    [
        ("all", ["conv0", "conv1", "dense0", "dense1"]),
        ("inner", ["conv1", "dense0"]),
        (["dense1", "conv0"], ["conv0", "dense1"]),
        ("dense0", ["dense0"]),
        ([], []),
    ],
)
def test_only_the_selected_layers_change(layers, selected: list[str]) -> None:
    weights = network()
    pruned, removed = prune_lonely(weights, layers=layers)
    for name, weight in weights.items():
        expected = pruned_by_hand(weight) if name in selected else weight
        np.testing.assert_array_equal(pruned[name], expected)
        assert (removed[name] > 0) == (name in selected)


def test_the_given_weights_stay_as_they_were() -> None:
    weights, untouched = network(), network()
    pruned, _ = prune_lonely(weights, layers="inner")
    for name in weights:
        pruned[name][...] = 7
    np.testing.assert_equal(weights, untouched)


def test_a_network_of_two_layers_has_no_inner_one() -> None:
    weights = {"first": np.eye(2), "last": np.eye(2)}
    pruned, removed = prune_lonely(weights, layers="inner")
    assert removed == {"first": 0, "last": 0}
    np.testing.assert_equal(pruned, weights)


@pytest.mark.parametrize("layers", ["iner", ["conv1", "dens0"]])
def test_an_unknown_layer_is_named_with_the_nearest_and_the_list(layers) -> None:
    with pytest.raises(InputError, match="unknown layer to prune") as caught:
        prune_lonely(network(), layers=layers)
    message = str(caught.value)
    assert ("'inner'?" in message) if layers == "iner" else ("'dense0'?" in message)
    assert "conv0, conv1, dense0, dense1" in message


@pytest.mark.parametrize(
    ("name", "layers", "reestimate"),
    [("lonely", "all", False), ("lonely_inner", "inner", False), ("lonely_bn", "all", True)],
)
def test_configurations(name: str, layers: str, reestimate: bool) -> None:
    config = yaml.safe_load(
        (ROOT / "conf" / "thesis" / "prune" / f"{name}.yaml").read_text("utf-8")
    )
    assert config == {"name": "lonely", "layers": layers, "reestimate_batchnorm": reestimate}
    _, removed = prune_lonely(network(), layers=config["layers"])
    assert (removed["conv0"] > 0) == (layers == "all")
