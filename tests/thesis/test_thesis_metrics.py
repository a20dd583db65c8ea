"""What stages measured is read as typed records, older results too, and written as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small import ROOT

from rewire.errors import InputError
from rewire.thesis.metrics import Evaluation, Examination, Pruning, Structure, Training

KINDS = {
    "train": Training,
    "prune": Pruning,
    "evaluate": Evaluation,
    "structure": Structure,
    "audit": Examination,
}
OLDER = {"late", "selection"}  # keys of earlier versions, which nothing reads
FILES = sorted((ROOT / "results" / "thesis").glob("*/cells/*/*_metrics.json"))


@pytest.mark.parametrize("stage", KINDS)
def test_committed_results_are_read_and_would_be_written_with_the_same_bytes(stage):
    paths = [path for path in FILES if path.name == f"{stage}_metrics.json"]
    assert paths
    for path in paths:
        text = path.read_text()
        plain = {key: value for key, value in json.loads(text).items() if key not in OLDER}
        again = json.dumps(KINDS[stage].read(path).as_json(), indent=2)
        assert again == json.dumps(plain, indent=2), path


def test_results_without_selections_are_read():
    path: Path = ROOT / "results" / "thesis" / "natural-s0.99-4-epochs" / "l2" / "metrics.json"
    found = Training.read(path)
    assert found.selections == {}
    assert found.engine is None
    assert found.growth == found.structure.growth > 0


def test_a_result_of_another_kind_is_told_by_file_and_place():
    path = next(path for path in FILES if path.name == "prune_metrics.json")
    with pytest.raises(InputError, match=r"prune_metrics\.json' is not what .*: images"):
        Examination.read(path)
