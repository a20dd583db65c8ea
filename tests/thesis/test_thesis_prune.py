"""Stage prune with methods beyond the thesis's, and what is trained on afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.small import run, small

from rewire.config.command_line import check_arguments
from rewire.files import read_json
from rewire.models.artifact import load_network
from rewire.pipeline.paths import CONF
from rewire.structure.vectors import zero_vectors
from rewire.thesis import evaluate, prune, structure, train

CELL = "natural-s0.9-l2-seed0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    train.run(*small(output, "rewire=l2"))
    return output


def ran(stage, output, *arguments):
    config, _ = small(output, "rewire=l2", *arguments)
    stage.run(config, list(arguments))


def weights_of(path):
    return {name: w.numpy() for name, w in load_network(path)[0].weights().items()}


@pytest.mark.parametrize(
    "arguments",
    [
        ("prune=poorest", "prune.zero_vectors=0.6"),
        ("prune=sparser", "prune.sparsity=0.95", "prune.layers=inner"),
        ("prune=moved", "prune.finetune.epochs=1"),
        ("prune=lonely", "prune.finetune.epochs=2", "prune.finetune.lr=0.05"),
    ],
)
def test_what_is_pruned_is_evaluated_and_reported(trained, arguments, capsys):
    ran(prune, trained, *arguments)
    said = capsys.readouterr().out
    assert ("clean test accuracy" in said) == ("finetune" in " ".join(arguments))
    (folder,) = (trained / "quick" / "prune").glob(f"{CELL}-*{arguments[-1].split('=')[0]}*")
    before = weights_of(trained / "quick" / "train" / CELL / "weights.safetensors")
    after = weights_of(folder / "weights.safetensors")
    metrics = read_json(folder / "metrics.json")
    for name, weight in after.items():
        assert metrics["removed"][name] == np.count_nonzero((before[name] != 0) & (weight == 0))
        if "inner" in arguments[-1] and name in ("conv1", "dense3"):
            np.testing.assert_array_equal(weight, before[name])
        if "finetune" not in " ".join(arguments):
            kept = weight != 0
            np.testing.assert_array_equal(weight[kept], before[name][kept])
    assert metrics["connected_after"] == sum(map(np.count_nonzero, after.values()))
    ran(structure, trained, *arguments)
    (folder,) = (trained / "quick" / "structure").glob(f"{CELL}-*{arguments[-1].split('=')[0]}*")
    report = read_json(folder / "metrics.json")["pruned"]
    assert report["zero_vectors"]["count"] == sum(map(zero_vectors, after.values()))
    if arguments[0] == "prune=poorest":
        assert report["zero_vectors"]["percent"] == pytest.approx(60, abs=0.1)


def test_a_second_run_is_finished_already_and_forced_it_gives_the_same_bytes(trained, capsys):
    arguments = ("prune=moved", "prune.finetune.epochs=2")
    ran(prune, trained, *arguments)
    (folder,) = (trained / "quick" / "prune").glob(f"{CELL}-*finetune.epochs=2*moved")
    bytes_before = (folder / "weights.safetensors").read_bytes()
    capsys.readouterr()
    ran(prune, trained, *arguments)
    assert "finished already" in capsys.readouterr().out
    ran(prune, trained, *arguments, "force=true")
    assert (folder / "weights.safetensors").read_bytes() == bytes_before


def test_evaluate_takes_the_tuned_network(trained):
    arguments = ("prune=lonely", "prune.finetune.epochs=3")
    ran(prune, trained, *arguments)
    ran(evaluate, trained, *arguments)
    (folder,) = (trained / "quick" / "evaluate").glob(f"{CELL}-*finetune.epochs=3*")
    assert read_json(folder / "metrics.json")["pruned"]["clean"]["total"] == 20


def test_a_network_from_elsewhere_is_not_trained_on(trained):
    network = trained / "quick" / "train" / CELL / "weights.safetensors"
    given = [f"network={network}", "prune.finetune.epochs=2"]
    (line,) = check_arguments("prune", given, CONF).found.errors
    assert "prune.finetune.epochs is 2" in line
    assert "Allowed for a network from elsewhere: 0" in line
    done = run("-m", "rewire", "thesis", "prune", *given, f"output={trained}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
