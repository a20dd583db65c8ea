"""Removal of weights that are alone in their vector, and the choice of layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from rewire.errors import InputError
from rewire.pruning.layers import select_layers
from rewire.pruning.lonely import prune_lonely
from rewire.structure.vectors import vector_counts, zero_vectors

ROOT = Path(__file__).parents[2]
NAMES = ["conv0", "conv1", "dense0", "dense1"]


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
    pruned = prune_lonely(weights)
    assert list(pruned) == list(weights)
    removed = 0
    for name, weight in weights.items():
        np.testing.assert_array_equal(pruned[name], pruned_by_hand(weight))
        assert pruned[name].dtype == weight.dtype
        gone = np.count_nonzero(weight) - np.count_nonzero(pruned[name])
        assert gone == np.count_nonzero(vector_counts(weight) == 1)
        assert zero_vectors(pruned[name]) == zero_vectors(weight) + gone
        removed += gone
    assert removed > 0


def test_a_second_pass_removes_nothing() -> None:
    pruned = prune_lonely(network())
    assert not any((vector_counts(weight) == 1).any() for weight in pruned.values())
    np.testing.assert_equal(prune_lonely(pruned), pruned)


def test_the_given_weights_stay_as_they_were() -> None:
    weights, untouched = network(), network()
    for pruned in prune_lonely(weights).values():
        pruned[...] = 7
    np.testing.assert_equal(weights, untouched)


@pytest.mark.parametrize(
    ("layers", "selected"),
    [
        ("all", NAMES),
        ("inner", ["conv1", "dense0"]),
        (["dense1", "conv0"], ["conv0", "dense1"]),
        ("dense0", ["dense0"]),
        ([], []),
    ],
)
def test_layers_are_selected_in_network_order(layers, selected: list[str]) -> None:
    assert select_layers(NAMES, layers) == selected


def test_a_network_of_two_layers_has_no_inner_one() -> None:
    assert select_layers(["first", "last"], "inner") == []


@pytest.mark.parametrize("layers", ["iner", ["conv1", "dens0"]])
def test_an_unknown_layer_is_named_with_the_nearest_and_the_list(layers) -> None:
    with pytest.raises(InputError, match="unknown layer to prune") as caught:
        select_layers(NAMES, layers)
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
    assert config == {
        "name": "lonely",
        "layers": layers,
        "reestimate_batchnorm": reestimate,
        "finetune": {"epochs": 0, "lr": 0.01},
    }
