"""The folder of results that is committed: what every cell has, and nothing that it has not."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from helpers.small import small

from rewire.errors import InputError
from rewire.evaluation.ledger import load_ledger
from rewire.models.artifact import load_network
from rewire.thesis import evaluate, prune, structure, train
from rewire.thesis.holdings import specifications
from rewire.tools import publish, published_files

CELL = "natural-s0.9-l2-seed0"
ARM = "natural-s0.9-l2-seed0-eq3"
INNER = "natural-s0.9-l2-seed0-prune=lonely_inner"
COMMENT = "**One cell alone was attacked.**"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Outputs of the quick profile: a cell with all its stages, and an arm that is only trained."""
    output = tmp_path_factory.mktemp("publish")
    for stage in (train, prune, evaluate, structure):
        stage.run(*small(output, "rewire=l2"))
    train.run(*small(output, "rewire=l2", "rewire.metric=eq3", "arm=eq3"))
    prune.run(small(output, "rewire=l2", "prune=lonely_inner")[0], ["prune=lonely_inner"])
    return output / "quick"


@pytest.fixture(scope="module")
def target(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "quick"
    folder.mkdir()
    (folder / "comment.md").write_text(f"{COMMENT}\n", encoding="utf-8")
    assert publish.publish(source, folder) == folder / "README.md"
    return folder


def test_every_small_file_of_every_finished_stage_is_copied(source, target):
    assert sorted(path.name for path in (target / "cells").iterdir()) == sorted([CELL, ARM, INNER])
    assert sorted(path.name for path in (target / "cells" / INNER).iterdir()) == [
        "prune_config.yaml", "prune_metrics.json", "prune_provenance.json",
    ]  # fmt: skip
    cell = target / "cells" / CELL
    for copied, original in (
        ("train_metrics.json", "train"),
        ("evaluate_trained.npz", "evaluate"),
        ("structure_metrics.json", "structure"),
        ("train_history.csv", "train"),
    ):
        stage_file = source / original / CELL / copied.partition("_")[2]
        assert (cell / copied).read_bytes() == stage_file.read_bytes()
    assert len(load_ledger(cell / "evaluate_pruned.npz")["indices"]) == 10
    assert load_network(cell / "weights.safetensors")[1]["width"] == 0.1
    assert not list((target / "cells" / ARM).glob("evaluate_*"))
    cards = {path.parent.name for path in target.glob("cells/*/README.md")}
    assert cards == {CELL, ARM}  # a network each; the third is a way of pruning the first


def test_the_thesis_s_own_tables_come_first_and_those_of_variants_last():
    names = [path.stem for path in specifications()]
    assert names[:3] == ["thesis_table1", "thesis_table2", "thesis_table3"]
    assert set(names[3:5]) == {"thesis_layer8", "thesis_selection"}
    assert {name.split("_")[1] for name in names[5:]} == {"arms", "baselines"}


def test_the_page_has_the_numbers_of_the_cells(source, target):
    text = (target / "README.md").read_text()
    trained = json.loads((source / "train" / CELL / "metrics.json").read_text())
    cells = text.partition("## What was run")[2].partition("\n## ")[0]
    (row,) = re.findall(rf"^\| {CELL} \|.*$", cells, re.MULTILINE)
    values = [value.strip() for value in row.strip("|").split("|")]
    assert values[1] == "2"
    assert values[2] == str(trained["connected"])
    assert float(values[3]) == pytest.approx(trained["clean"]["accuracy"], rel=1e-3)
    assert values[5] == "10"
    (arm,) = re.findall(rf"^\| {ARM} \|.*$", text, re.MULTILINE)
    assert [value.strip() for value in arm.strip("|").split("|")][4:6] == ["-", "-"]
    assert f"Not comparable with the published numbers.**\n\n{COMMENT}\n\n- Machine" in text
    assert text.count("Not comparable") == 1  # on top, and not again above every table
    assert "- train: 2 cells" in text
    assert "- evaluate: 1 cells" in text
    assert "(report.html)" in text
    assert 'id="thesis"' in (target / "report.html").read_text(encoding="utf-8")
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (target / picture).is_file()


def test_an_arm_is_in_its_own_table_alone(source, tmp_path):
    renamed = tmp_path / "quick"
    shutil.copytree(source, renamed)
    for folder in [*renamed.glob("*/*s0.9-*")]:
        config = folder / "config.yaml"
        if config.is_file():
            config.write_text(config.read_text().replace("sparsity: 0.9\n", "sparsity: 0.99\n"))
        folder.rename(folder.with_name(folder.name.replace("s0.9-", "s0.99-")))
    publish.publish(renamed, tmp_path / "results")
    tables = tmp_path / "results" / "tables"
    first = json.loads((tables / "thesis_table1.json").read_text())["cells"]
    arms = json.loads((tables / "thesis_arms_distance.json").read_text())["cells"]
    shown = {c["column"]: c["ours"] for c in arms if c["row"] == "share of zero vectors" and c["n"]}
    assert list(shown) == ["l2, Euclid, random ties", "l2, Equation 3 as printed"]
    (ours,) = [c for c in first if c["row"] == "99 % natural" and c["n"]]
    assert (ours["n"], ours["ours"]) == (1, shown["l2, Euclid, random ties"])
    trained = json.loads((source / "train" / ARM / "metrics.json").read_text())
    percent = trained["structure"]["zero_vectors"]["percent"]
    assert shown["l2, Equation 3 as printed"] == percent


def test_nothing_of_an_earlier_network_stays_beside_a_new_one(source, target, tmp_path, capsys):
    made, results = tmp_path / "quick", tmp_path / "results"
    shutil.copytree(source, made)
    shutil.copytree(target, results)
    for stage in ("train", "prune", "evaluate", "structure"):
        (made / stage / CELL / "manifest.json").rename(tmp_path / f"{stage}.json")
    train.run(*small(tmp_path, "rewire=l2", "trainer.lr=0.01", "force=true"))
    for stage in ("prune", "evaluate", "structure"):
        (tmp_path / f"{stage}.json").rename(made / stage / CELL / "manifest.json")
    (new,) = [path for path in made.glob("train/*") if "l2" in path.name and "eq3" not in path.name]
    assert new.name == CELL
    publish.publish(made, results)
    assert capsys.readouterr().out.count("outdated and left out") >= 3
    cell = results / "cells" / CELL
    assert {path.name.partition("_")[0] for path in cell.glob("*_*")} == {"train"}
    weights = cell / "weights.safetensors"
    assert weights.read_bytes() == (made / "train" / CELL / "weights.safetensors").read_bytes()
    card = (cell / "README.md").read_text()
    assert (
        str(round(json.loads((cell / "train_metrics.json").read_text())["clean"]["accuracy"], 2))
        in card
    )


def test_networks_above_the_limit_stay_where_they_are(source, tmp_path, monkeypatch):
    publish.publish(source, tmp_path / "results")
    assert list(tmp_path.glob("results/cells/*/weights.safetensors"))
    monkeypatch.setattr(published_files, "LARGEST", 100)
    publish.publish(source, tmp_path / "results")
    assert not list(tmp_path.glob("results/cells/*/weights.safetensors"))


def test_what_is_no_profile_s_output_is_refused(source, tmp_path):
    with pytest.raises(InputError, match=r"no finished training.*Allowed"):
        publish.publish(tmp_path / "quick", tmp_path / "results")
    shutil.copytree(source, tmp_path / "fast")
    allowed = "Allowed: cpu, gpu, paper, quick, structure"
    with pytest.raises(InputError, match=rf"name of no profile. {allowed}"):
        publish.publish(tmp_path / "fast", tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_comment_that_is_no_text_is_refused_before_anything_is_written(source, tmp_path):
    file = tmp_path / "comment.md"
    file.write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"comment\.md' cannot be read\. Allowed: text in UTF-8"):
        publish.publish(source, tmp_path)
    assert list(tmp_path.iterdir()) == [file]


def test_cells_are_in_the_order_of_the_tables(tmp_path):
    names = [
        "natural-s0-dense-seed0", "natural-s0.99-l2-seed0-eq3", "natural-s0.99-weighted-seed0",
        "natural-s0.99-random-seed1", "natural-s0.99-random-seed0", "natural-s0.99-static-seed0",
    ]  # fmt: skip
    for name in names:
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "manifest.json").write_text("{}")
    found = publish.finished(tmp_path, "train")
    assert found.index("natural-s0.99-random-seed0") < found.index("natural-s0.99-random-seed1")
    assert found.index("natural-s0.99-random-seed1") < found.index("natural-s0.99-weighted-seed0")
    assert found[-1] == "natural-s0.99-l2-seed0-eq3"
    assert publish.axes_of(found) == {
        "cells": ["natural-s0.99"],
        "rewire": ["random", "weighted"],
        "seeds": [0, 1],
    }
