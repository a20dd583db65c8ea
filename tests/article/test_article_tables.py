"""Tables, plots and claims of the article from what its stages left."""

from __future__ import annotations

import csv
import json
import re
import shutil

import pytest
from helpers.article_oracle import ANN, PAIRS, metrics_of, small
from helpers.small import list_anew

from rewire.article import adaptive as article_adaptive
from rewire.article import curves as article_curves
from rewire.article import noise as article_noise
from rewire.article import tables as article_tables
from rewire.article import train as article_train
from rewire.article import transfer as article_transfer
from rewire.attacks.universal import pair_label
from rewire.errors import InputError
from rewire.files import is_whole
from rewire.models.artifact import load_dense, save_dense
from rewire.tools import publish, published_files
from rewire.tools.restore import restore

HEADS = ("lq", "rq", "sce")
COLUMNS = [pair_label(pair) for pair in PAIRS]
PARAMS = """
article:
  cells: [ann-lq, ann-rq, ann-sce, cnn-lq]
  pruned: [ann-lq, cnn-lq]
  transfer: [ann-lq]
  decoupled: [cnn-lq]
  seeds: [0, 1]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Tables after some of the cells that the parameters list; the others were not run."""
    folder = tmp_path_factory.mktemp("project")
    output = folder / "outputs"
    for head in HEADS:
        for stage in (article_train, article_noise):
            stage.run(*small(output, *ANN, f"head={head}"))
    for stage in (article_curves, article_adaptive, article_transfer):
        stage.run(*small(output, *ANN))
    (folder / "params.yaml").write_text(PARAMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        article_tables.run(small(output, *ANN)[0], [])
    return output


def table(output, name):
    return json.loads((output / "tables" / f"{name}.json").read_text())


def test_table1_holds_what_was_measured_and_nothing_else(finished):
    cells = {
        (cell["row"], cell["column"]): cell for cell in table(finished, "article_table1")["cells"]
    }
    (unpruned,) = (
        point
        for point in metrics_of(finished, "article_curves")["points"]
        if (point["point"], point["evaluation"]) == ("none", "E1")
    )
    for column, correct, images in zip(
        ["None", *COLUMNS], unpruned["correct"], unpruned["images"], strict=True
    ):
        cell = cells["No pruning, LQ", column]
        assert cell["ours"] == pytest.approx(100 * correct / images)
        assert cell["verdict"] == "not comparable"
        assert cells["No pruning, RQ (as run)", column]["verdict"] == "not run"
    assert cells["No pruning, LQ", "None"]["published"] == 98.65
    measured = {column for (_, column), cell in cells.items() if cell["ours"] is not None}
    assert measured == {"None", *COLUMNS}  # the other vectors were not made
    for suffix in ("md", "tex"):
        assert "Not comparable" in (finished / "tables" / f"article_table1.{suffix}").read_text()


def test_transfer_has_a_row_per_network_that_was_run(finished):
    row, other = table(finished, "article_transfer_E1")
    assert [(r["network of"], r["noise"]) for r in (row, other)] == [("lq", "G1"), ("lq", "G2")]
    correct, images = (
        metrics_of(finished, "article_transfer")["sources"]["sce"]["G1"]["E1"][key][0]
        for key in ("correct", "images")
    )
    assert row["none"] == pytest.approx(100 * correct / images)


def test_all_claims_are_scored_and_missing_data_decide_nothing(finished):
    claims = table(finished, "article_claims")
    assert [claim["claim"] for claim in claims] == list("abcdefghijklm")
    assert claims[11]["verdict"] == "not run"  # nothing was decoupled
    text = (finished / "tables" / "article_claims.md").read_text()
    for claim in claims:
        assert claim["text"] in text
        assert claim["criterion"] in text


def test_plots_of_networks_that_were_run_with_their_numbers(finished):
    drawn = sorted(path.stem for path in (finished / "figures").glob("article_*.png"))
    assert drawn == [
        "article_abs_layer_pruning",
        "article_abs_value_pruning",
        "article_acti_layer_pruning",
        "article_acti_values_pruning",
        "article_combined_pruning",
    ]
    for name in drawn:
        rows = list(csv.DictReader((finished / "figures" / f"{name}.csv").open()))
        assert any(row["published"] != "n/a" for row in rows)
        assert any(row["ours"] != "n/a" for row in rows)


def test_missing_lists_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("article: {cells: [ann-lq], seeds: [0]}")
    with pytest.raises(InputError, match=r"must list .*article\.pruned"):
        article_tables.run(small(tmp_path / "outputs")[0], [])
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("by_dvc", [True, False])
def test_a_person_is_shown_the_table_and_the_pipeline_goes_on(
    by_dvc, finished, tmp_path, monkeypatch, capsys
):
    output = shutil.copytree(finished, tmp_path / "outputs")
    shutil.copy(finished.parent / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(article_tables, "draw", lambda *_: None)
    if by_dvc:
        monkeypatch.setenv("DVC_STAGE", "tables")
    article_tables.run(small(output, *ANN)[0], [])
    said = capsys.readouterr().out
    shown = ["No pruning, LQ" in said, re.search(r"^\(\w+\) ", said, re.MULTILINE) is not None]
    assert shown == [not by_dvc] * 2
    assert said.splitlines()[-1].startswith("wrote ")
    assert not by_dvc or len(said.splitlines()) < 5


def test_numbers_of_a_network_that_is_gone_are_left_out(finished, tmp_path, monkeypatch, capsys):
    output = shutil.copytree(finished, tmp_path / "outputs")
    shutil.copy(finished.parent / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(article_tables, "draw", lambda *_: None)
    weights = output / "quick" / "article_train" / "ann-lq-seed0" / "weights.safetensors"
    model = load_dense(weights)
    model.output.bias.data += 1
    save_dense(weights, model, spec=dict(small(output, *ANN)[0].network))
    list_anew(weights)
    article_tables.run(small(output, *ANN)[0], [])
    said = capsys.readouterr().out
    for stage in ("article_noise", "article_curves", "article_adaptive", "article_transfer"):
        assert f"outdated and left out: {output / 'quick' / stage}" in said
    cells = {(c["row"], c["column"]): c for c in table(output, "article_table1")["cells"]}
    cell = cells["No pruning, LQ", "None"]
    assert (cell["ours"], cell["verdict"]) == (None, "outdated")
    assert cell["outdated"][0].startswith("rewire article curves profile=quick ")
    assert table(output, "article_transfer_E1") == []
    text = (output / "tables" / "article_noise_ann.md").read_text()
    assert "Outdated, hence left out: run rewire article noise" in text
    with pytest.raises(InputError, match=r"article_noise.* is outdated.*Run it again first"):
        article_curves.run(*small(output, *ANN, "force=true"))


def test_cells_are_gathered_in_a_folder_to_commit(finished, tmp_path, capsys):
    target = tmp_path / "results" / "quick"
    publish.main([str(finished / "quick"), str(target), "--document", "article"])
    assert capsys.readouterr().out.endswith(f"wrote {target / 'README.md'}\n")
    cells = {path.name for path in (target / "cells").iterdir()}
    assert cells == {f"ann-{head}-seed0" for head in HEADS}
    names = {path.name for path in (target / "cells" / "ann-lq-seed0").iterdir()}
    assert {"train_metrics.json", "noise_noise_G1.safetensors", "curves_curves.csv"} <= names
    assert {"adaptive_vectors.safetensors", "transfer_metrics.json", "weights.safetensors"} <= names
    assert "train_weights.safetensors" not in names
    for name in ("article_table1", "article_claims"):
        ours, theirs = (folder / "tables" / f"{name}.json" for folder in (target, finished))
        assert ours.read_bytes() == theirs.read_bytes()
    text = (target / "README.md").read_text()
    accuracy = metrics_of(finished, "article_train")["clean"]["accuracy"]
    (row,) = re.findall(r"^\| ann-lq-seed0 \|.*$", text, re.MULTILINE)
    assert float(row.split("|")[4]) == pytest.approx(accuracy, rel=1e-3)
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (target / picture).is_file()


def test_a_page_has_no_table_of_what_was_not_run(finished, tmp_path):
    source, target = shutil.copytree(finished / "quick", tmp_path / "quick"), tmp_path / "published"
    titles = ("## Best performance of the ANN", "## Order of the prunings")
    for curves, shown in ((True, True), (False, False)):
        if not curves:
            shutil.rmtree(source / "article_curves")
        publish.main([str(source), str(target), "--document", "article"])
        text = (target / "README.md").read_text()
        assert [title in text for title in titles] == [shown, shown]
        assert "## Unpruned ann under noise" in text


def test_a_restored_page_is_published_with_the_same_numbers(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(published_files, "LARGEST", 100)  # at full scale the networks stay away
    first, source, again = tmp_path / "first", tmp_path / "quick", tmp_path / "again"
    publish.main([str(finished / "quick"), str(first), "--document", "article"])
    restored = {path.relative_to(source).as_posix() for path in restore(first, source)}
    heads = {
        f"{stage}/ann-{h}-seed0" for stage in ("article_train", "article_noise") for h in HEADS
    }
    rest = ("article_curves", "article_adaptive", "article_transfer")
    assert restored == heads | {f"{stage}/ann-lq-seed0" for stage in rest}
    for head in HEADS:
        assert is_whole(source / "article_noise" / f"ann-{head}-seed0")
        assert not is_whole(source / "article_train" / f"ann-{head}-seed0")
    publish.main([str(source), str(again), "--document", "article"])
    for pattern in ("cells/*/*", "tables/*.json"):
        files = {path.relative_to(first): path.read_bytes() for path in first.glob(pattern)}
        assert files == {path.relative_to(again): path.read_bytes() for path in again.glob(pattern)}
        assert files


def test_outdated_cells_are_called_so_where_they_are_published(finished, tmp_path, capsys):
    source, target = shutil.copytree(finished / "quick", tmp_path / "quick"), tmp_path / "published"
    publish.main([str(source), str(target), "--document", "article"])
    cell = target / "cells" / "ann-lq-seed0"
    assert list(cell.glob("curves_*"))
    title = "## Noise of one head (G1, G2) on the network of another, E1"
    assert title in (target / "README.md").read_text()
    weights = source / "article_train" / "ann-lq-seed0" / "weights.safetensors"
    model = load_dense(weights)
    model.output.bias.data += 1
    save_dense(weights, model, spec=dict(small(finished, *ANN)[0].network))
    publish.main([str(source), str(target), "--document", "article"])
    assert f"outdated and left out: {source / 'article_curves'}" in capsys.readouterr().out
    text = (target / "README.md").read_text()
    assert "Outdated, hence left out: run rewire article noise" in text.partition("##")[0]
    (row,) = re.findall(r"^\| No pruning, LQ +\|.*$", text, re.MULTILINE)
    assert "outdated" in row
    assert "not run" not in row
    assert {path.name.partition("_")[0] for path in cell.glob("*_*")} == {"train"}
    assert title not in text  # it has no row
    assert "Not run." not in text


def test_a_folder_without_a_training_of_the_article_is_refused(tmp_path, capsys):
    (tmp_path / "quick").mkdir()
    with pytest.raises(InputError, match="no finished training of the article"):
        publish.main([str(tmp_path / "quick"), str(tmp_path / "x"), "--document", "article"])
    assert not (tmp_path / "x").exists()
