"""Model cards: what a published network says of itself is what was measured."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
import yaml
from helpers.small import ROOT

import rewire
from rewire.errors import InputError
from rewire.evaluation.ledger import load_ledger
from rewire.pipeline.profiles import profile_of
from rewire.thesis.document import THESIS
from rewire.tools.cards import CARD, write_cards
from rewire.tools.cards import ROBUST as INFO
from rewire.tools.published_cell import read_cell

RESULTS = ROOT / "results" / "thesis"
ROBUST = "trades-s0.95-l2-seed0"
FULL = "trades-s0.95-random-seed0"


@pytest.fixture(scope="module")
def cpu(tmp_path_factory):
    """The committed cells, with cards as they are written today."""
    folder = tmp_path_factory.mktemp("cards") / "cpu"
    shutil.copytree(RESULTS / "cpu" / "cells", folder / "cells")
    for path in folder.glob("cells/*/README.md"):
        path.unlink()
    write_cards(folder, profile_of(RESULTS / "cpu", THESIS).note)
    return folder


@pytest.mark.parametrize("profile", ["cpu", "paper"])
def test_the_committed_cards_are_those_that_are_written_today(profile, tmp_path):
    committed = RESULTS / profile
    shutil.copytree(committed / "cells", tmp_path / "cells")
    cards = {path for name in (CARD, INFO) for path in committed.glob(f"cells/*/{name}")}
    for path in cards:
        (tmp_path / path.relative_to(committed)).unlink()
    written = write_cards(tmp_path, profile_of(committed, THESIS).note)
    assert {path.relative_to(tmp_path) for path in written} == {
        path.relative_to(committed) for path in cards
    }
    assert written
    for path in written:
        assert path.read_bytes() == (committed / path.relative_to(tmp_path)).read_bytes()


def test_the_numbers_are_those_of_the_ledger(cpu):
    cell = cpu / "cells" / ROBUST
    text = (cell / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    ledger = load_ledger(cell / "evaluate_trained.npz")["robust_correct"]
    (row,) = re.findall(r"^\| as trained \| robust accuracy \| (.*)$", text, re.MULTILINE)
    share = 100 * ledger.mean()
    assert row.startswith(f"{share:.2f} % | [22.54, 30.23] | {len(ledger)} test images")
    robust = front["model-index"][0]["results"][0]["metrics"][1]
    assert (robust["name"], robust["value"]) == (
        "robust accuracy (PGD-50 with 10 restarts)", pytest.approx(share),
    )  # fmt: skip
    assert "Not comparable with the published numbers" in text
    assert "AutoAttack leaves 13 of 50 images correct where this attack leaves 14" in text


def test_autoattack_is_that_of_the_most_images():
    cells = RESULTS / "paper" / "cells"
    (beside,) = cells.glob(f"{FULL}-*attack=autoattack")
    ledger = load_ledger(beside / "evaluate_trained.npz")["robust_correct"]
    share, count = 100 * ledger.mean(), len(ledger)
    assert count > 300  # of the sanity checks
    info = json.loads((cells / FULL / INFO).read_text())
    assert (info["autoattack_acc"], info["autoattack_images"]) == (f"{share:.2f}", count)
    text = (cells / FULL / CARD).read_text(encoding="utf-8")
    assert re.search(rf"AutoAttack leaves {share:.2f} % \[.*\] of {count:,} images", text)
    assert "AutoAttack leaves 94 of 300 images correct where this attack leaves 110" in text


def test_autoattack_on_another_network_says_nothing_of_this_one(tmp_path):
    cells = RESULTS / "paper" / "cells"
    (beside,) = cells.glob(f"{FULL}-*attack=autoattack")
    for folder in (cells / FULL, beside):
        shutil.copytree(folder, tmp_path / "cells" / folder.name)
    assert read_cell(tmp_path / "cells" / FULL, "").stronger
    config = tmp_path / "cells" / beside.name / "evaluate_config.yaml"
    config.write_text(re.sub("train: .*", "train: other", config.read_text()))
    assert read_cell(tmp_path / "cells" / FULL, "").stronger is None


def test_the_lines_of_a_card_load_the_network(cpu, monkeypatch):
    text = (cpu / "cells" / ROBUST / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert [bool(line) for line in lines.splitlines()] == [True, False, True, True]
    monkeypatch.chdir(cpu / "cells")
    names = {"images": torch.rand(2, 3, 32, 32)}
    with torch.no_grad():
        exec(lines, names)
        assert names["logits"].shape == (2, 10)
        fast = rewire.Inference(names["network"])(names["images"])
    torch.testing.assert_close(fast, names["logits"], rtol=0, atol=1e-4)


def test_robust_networks_alone_have_robustbench_s_form(cpu):
    names = {path.parent.name for path in cpu.glob("cells/*/model_info.json")}
    assert names == {p.name for p in cpu.glob("cells/trades-*")}
    info = json.loads((cpu / "cells" / ROBUST / "model_info.json").read_text())
    assert info | {"footnote": ""} == {
        "link": None,
        "name": ROBUST,
        "authors": "The rewire authors",
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": "cifar10",
        "venue": None,
        "architecture": "vgg11 of width 0.5",
        "threat_model": "Linf",
        "eps": "8/255",
        "clean_acc": "48.27",
        "clean_images": 10_000,
        "reported": "26.20",
        "reported_attack": "PGD-50 with 10 restarts",
        "reported_images": 500,
        "reported_interval": ["22.54", "30.23"],
        "autoattack_acc": "26.00",
        "autoattack_images": 50,
        "parameters": 2_453_600,
        "parameters_connected": 122_680,
        "footnote": "",
    }
    without = cpu / "cells" / "trades-s0.95-random-seed0-beta0.6" / "model_info.json"
    assert json.loads(without.read_text())["autoattack_acc"] is None


def test_a_network_that_was_only_trained_has_a_card_that_says_so(cpu, tmp_path):
    cell = tmp_path / "cells" / ROBUST
    shutil.copytree(cpu / "cells" / ROBUST, cell)
    for path in [*cell.glob("evaluate_*"), *cell.glob("structure_*"), *cell.glob("audit_*")]:
        path.unlink()
    for name in ("README.md", "model_info.json"):
        (cell / name).unlink()
    assert write_cards(tmp_path, "note") == [cell / "README.md"]
    text = (cell / "README.md").read_text(encoding="utf-8")
    assert "It was not attacked." in text
    assert "| as trained | zero vectors | 0.184 % |" in text
    (cell / "train_metrics.json").write_text("{")
    with pytest.raises(InputError, match="damaged or not JSON"):
        write_cards(tmp_path, "note")
