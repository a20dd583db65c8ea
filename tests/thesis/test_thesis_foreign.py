"""Networks from elsewhere are pruned, evaluated and reported, in cells of their own."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.small import composed, run, small

from rewire.models.factory import build_model
from rewire.models.plain import to_state_dict
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import WEIGHTS
from rewire.pipeline.foreign import foreign_cell
from rewire.pipeline.names import cell_of
from rewire.pipeline.state import read_state
from rewire.thesis import evaluate, prune, structure
from rewire.thesis.document import NAME
from rewire.thesis.holdings import finished

SPEC = {"name": "vgg11", "width": 0.1, "classes": 10, "image_size": 32}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "natural-s0.9-random-seed0.pt"  # it may be called as it likes
    torch.save(to_state_dict(build_model(**SPEC, sparsity=0.97, seed=3)), path)
    return path


def metrics(output, stage, cell):
    return json.loads((output / "quick" / stage / cell / "metrics.json").read_text())


def test_all_that_takes_no_training_is_done_with_it(file, tmp_path):
    output, cell = tmp_path / "outputs", foreign_cell(file)
    evaluate.run(*small(output, f"network={file}"))
    assert set(metrics(output, "evaluate", cell)) == {"trained", "attack"}
    for stage in (prune, structure, evaluate):
        stage.run(*small(output, f"network={file}"))
    assert set(metrics(output, "evaluate", cell)) == {"trained", "pruned", "attack"}
    removed = metrics(output, "prune", cell)["removed_total"]
    report = metrics(output, "structure", cell)
    assert removed > 0
    assert report["trained"]["connected"] - removed == report["pruned"]["connected"]
    assert report["trained"]["turnover"] is None
    assert finished(output / "quick", "evaluate") == []  # no cell of the thesis's tables
    assert not read_state(output / "quick", "quick").doubts


def test_a_finished_result_is_of_this_content(file, tmp_path, capsys):
    output = tmp_path / "outputs"
    evaluate.run(*small(output, f"network={file}"))
    # What only a training knows is no part of it.
    evaluate.run(*small(output, f"network={file}", "sparsity=0.5", "trainer.epochs=7", "seed=5"))
    assert "finished already" in capsys.readouterr().out
    torch.save(to_state_dict(build_model(**SPEC, sparsity=0.97, seed=4)), file)
    evaluate.run(*small(output, f"network={file}"))
    assert len(list((output / "quick" / "evaluate").iterdir())) == 2


def test_the_name_of_its_cell_is_of_no_trained_one(file):
    config = composed(f"network={file}")
    name = cell_of(config, stage="evaluate", overrides=["rewire=l2", "attack.steps=3"])
    assert name == f"{foreign_cell(file)}-attack.steps=3"
    assert name.startswith("foreign-natural_s0.9_random_seed0-")
    assert NAME.fullmatch(foreign_cell(file)) is None
    own = file.parent / "trades-s0.9-l2-seed0" / WEIGHTS
    own.parent.mkdir()
    own.write_bytes(b"of a cell")
    assert foreign_cell(own).startswith("foreign-trades_s0.9_l2_seed0-")
    # Tracking knows the artifacts of cells alone.
    config, pruned = {"network": str(own)}, file.parent / "pruned-cell" / WEIGHTS
    foreign, trained = Cell("evaluate", config), Cell("evaluate", {"network": None})
    assert foreign.lineage({"trained": own, "pruned": pruned}) == ["pruned-pruned-cell"]
    assert trained.lineage({"trained": own}) == ["weights-trades-s0.9-l2-seed0"]


@pytest.mark.parametrize(
    ("stage", "network", "said"),
    [
        ("train", "net.pt", "Allowed for the stage train: null; one is taken by prune, evaluate"),
        ("audit", "net.pt", "Allowed for the stage audit: null"),
        ("evaluate", "nowhere.pt", "network 'nowhere.pt' cannot be read"),
        ("evaluate", "7", "network is 7. Allowed: a path"),
    ],
)
def test_a_network_that_cannot_be_taken_is_one_line(tmp_path, stage, network, said):
    found = run("-m", "rewire", "thesis", stage, f"network={network}", f"output={tmp_path / 'o'}")
    assert found.returncode == 2
    assert said in found.stderr
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "o" / "quick").exists()
