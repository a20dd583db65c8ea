"""Published results laid out as outputs again: the same tables, networks to go on from, no lies."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from helpers.small import small

from rewire.errors import InputError
from rewire.files import MANIFEST, WEIGHTS, is_whole
from rewire.thesis import evaluate, prune, structure, train
from rewire.tools import publish, published_files
from rewire.tools.restore import restore

CELL = "natural-s0.99-l2-seed0"
STAGES = (train, prune, evaluate, structure)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Outputs of the quick profile: one cell with all its stages."""
    output = tmp_path_factory.mktemp("made")
    for stage in STAGES:
        stage.run(*small(output, "rewire=l2", "sparsity=0.99"))
    return output / "quick"


@pytest.fixture(scope="module")
def published(source, tmp_path_factory):
    return publish.publish(source, tmp_path_factory.mktemp("results") / "quick").parent


@pytest.fixture(scope="module")
def without_network(source, tmp_path_factory):
    """The same where the network was too large to be published."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(published_files, "LARGEST", 100)
        return publish.publish(source, tmp_path_factory.mktemp("large") / "quick").parent


def files_of(folder, pattern):
    return {path.relative_to(folder): path.read_bytes() for path in folder.glob(pattern)}


def numbers_of(folder):
    """File → the cells of every table; what is said about them may differ."""
    found = {path.name: json.loads(path.read_text()) for path in folder.glob("tables/*.json")}
    return {name: table["cells"] for name, table in found.items() if "cells" in table}


@pytest.mark.parametrize("kind", ["published", "without_network"])
def test_what_is_restored_is_published_with_the_same_numbers(kind, request, tmp_path):
    folder = request.getfixturevalue(kind)
    restored = restore(folder, tmp_path / "quick")
    assert sorted(p.relative_to(tmp_path / "quick").as_posix() for p in restored) == [
        f"{stage}/{CELL}" for stage in ("evaluate", "prune", "structure", "train")
    ]
    again = publish.publish(tmp_path / "quick", tmp_path / "results" / "quick").parent
    assert files_of(again, "cells/*/*") == files_of(folder, "cells/*/*")
    numbers = numbers_of(folder)
    assert numbers_of(again) == numbers
    (shown,) = [c for c in numbers["thesis_table2.json"] if c["row"] == "99 % natural" and c["n"]]
    pruned = [c for c in numbers["thesis_table2.json"] if "pruned" in c["row"] and c["n"]]
    assert shown["ours"] is not None
    assert len(pruned) == 1  # of a network that is nowhere any more
    page = (again / "report.html").read_text(encoding="utf-8")
    assert "Networks that are not here: " in page
    assert "is outdated" not in page
    assert "is missing" not in page.partition("<script")[0]
    pictures = {path.name for path in (again / "figures").glob("*.png")}
    assert (f"figures_3-5_{CELL[:13]}_dense2.png" in pictures) == (kind == "published")


def test_a_stage_goes_on_from_a_restored_network(published, tmp_path, capsys):
    restore(published, tmp_path / "quick")
    settings = ("rewire=l2", "sparsity=0.99")
    train.run(*small(tmp_path, *settings))
    assert "finished already" in capsys.readouterr().out
    config, overrides = small(tmp_path, *settings, "prune=lonely_bn")
    prune.run(config, [*overrides, "prune=lonely_bn"])
    made = tmp_path / "quick" / "prune" / f"{CELL}-prune=lonely_bn"
    assert is_whole(made)
    assert (made / WEIGHTS).is_file()


def test_what_came_without_its_network_is_made_anew_when_asked_for(
    source, without_network, tmp_path, capsys
):
    restore(without_network, tmp_path / "quick")
    for stage in ("train", "prune"):
        folder = tmp_path / "quick" / stage / CELL
        assert (folder / MANIFEST).is_file()
        assert not is_whole(folder)
    settings = ("rewire=l2", "sparsity=0.99")
    for stage in (train, prune):
        stage.run(*small(tmp_path, *settings))
    said = capsys.readouterr().out
    assert said.count("incomplete: ") == 2  # of each stage, once
    assert "finished already" not in said
    for stage in ("train", "prune"):
        made = tmp_path / "quick" / stage / CELL / WEIGHTS
        assert made.read_bytes() == (source / stage / CELL / WEIGHTS).read_bytes()
    evaluate.run(*small(tmp_path, *settings))  # of this very network: nothing to do
    assert "finished already" in capsys.readouterr().out


def test_results_of_another_scale_or_of_no_document_are_refused(published, tmp_path):
    with pytest.raises(InputError, match="holds results of profile quick, not of paper"):
        restore(published, tmp_path / "paper")
    other = shutil.copytree(published, tmp_path / "published")
    for path in (other / "cells" / CELL).glob("*_config.yaml"):
        path.write_text("seed: 0\n")
    with pytest.raises(InputError, match=f"{CELL}' is no cell of a document"):
        restore(other, tmp_path / "quick")
    assert not (tmp_path / "paper").exists()
    assert not (tmp_path / "quick").exists()


def test_results_that_are_there_stay(published, tmp_path):
    other = tmp_path / "quick" / "train" / CELL
    other.mkdir(parents=True)
    (other / MANIFEST).write_text("{}")
    restored = {path.parent.name for path in restore(published, tmp_path / "quick")}
    assert restored == {"prune", "evaluate", "structure"}
    assert [path.name for path in other.iterdir()] == [MANIFEST]
    assert restore(published, tmp_path / "quick") == []


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (WEIGHTS, b"other bytes", "made from another network"),
        ("evaluate_config.yaml", b"{", "no configuration is in it"),
        ("prune_config.yaml", b"\xff", "no configuration is in it"),
    ],
)
def test_what_is_damaged_is_named_and_nothing_is_written(file, content, words, published, tmp_path):
    shutil.copytree(published, tmp_path / "published")
    damaged = tmp_path / "published" / "cells" / CELL / file
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=f"^'{re.escape(str(damaged))}' is damaged: .*{words}"):
        restore(tmp_path / "published", tmp_path / "quick")
    assert not (tmp_path / "quick").exists()


def test_what_is_no_published_result_is_refused_and_nothing_is_written(published, tmp_path):
    with pytest.raises(InputError, match=r"no published cells in '.*empty'. Allowed: .*publish"):
        restore(tmp_path / "empty", tmp_path / "quick")
    with pytest.raises(InputError, match=r"name of no profile\. Allowed: cpu, gpu, paper"):
        restore(published, tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []
