"""The report of a folder: numbers of its files, what is wrong with it, and what it refuses."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from helpers import article_oracle as article_oracle
from helpers.small import list_anew, run, small

from rewire import cli, load
from rewire.article import curves as article_curves
from rewire.article import noise as article_noise
from rewire.article import train as article_train
from rewire.errors import InputError
from rewire.files import MANIFEST, read_json
from rewire.pipeline.made import command_for
from rewire.pipeline.state import chain, read_state, warnings
from rewire.reporting.html.page import render_report
from rewire.thesis import evaluate, prune, structure, train
from rewire.thesis.report import chapter as report_thesis
from rewire.tools import report

CELLS = {rewire: f"natural-s0.99-{rewire}-seed0" for rewire in ("random", "l2")}
ARM = "natural-s0.99-l2-seed0-eq3"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Outputs of the quick profile: two strategies with all stages, an arm, and an ANN."""
    output = tmp_path_factory.mktemp("outputs")
    for rewire in CELLS:
        for stage in (train, prune, evaluate, structure):
            stage.run(*small(output, "sparsity=0.99", f"rewire={rewire}"))
    train.run(*small(output, "sparsity=0.99", "rewire=l2", "rewire.metric=eq3", "arm=eq3"))
    for stage in (article_train, article_noise, article_curves):
        stage.run(*article_oracle.small(output, *article_oracle.ANN))
    return output / "quick"


@pytest.fixture(scope="module")
def text(source):
    page = report.make_report(source, source.parent / report.PAGE)
    return page.read_text(encoding="utf-8")


@pytest.fixture
def copied(source, tmp_path):
    shutil.copytree(source, tmp_path / "quick")
    return tmp_path / "quick"


def said(folder) -> list[str]:
    return list(warnings(read_state(folder, "quick")))


def test_the_page_has_the_numbers_of_the_files_and_says_where_they_stand(source, text):
    for rewire, cell in CELLS.items():
        measured = read_json(source / "evaluate" / cell / "metrics.json")
        counts = measured["trained"]["clean"]
        place = ("random", "l2").index(rewire)
        wanted = rf'<template id="x-thesis_table2-0-{place}">(.*?)</template>'
        found = html.unescape(re.search(wanted, text, re.DOTALL)[1])
        assert f"= {counts['correct']} of {counts['total']} images right" in found
        assert f"quick/evaluate/{cell}/metrics.json" in found
        stages = ("train", "prune", "evaluate")
        made_by = re.search(r"<pre>(.*?)</pre>", found, re.DOTALL)[1].splitlines()
        assert made_by == [command_for(source / stage / cell) for stage in stages]
        commit = read_json(source / "evaluate" / cell / "provenance.json")["commit"]
        assert commit is None or commit in found


def test_all_stages_both_documents_and_the_arm_are_on_it(text):
    for expected in (
        'id="thesis_table1"', 'id="article_table1"', 'id="claims"', ARM,
        "What “nearest” means", "article_curves", "structure",
    ):  # fmt: skip
        assert expected in text
    nets = json.loads(re.search(r'id="data-matrices">(.*?)</script>', text)[1])["nets"]
    assert [(net["training"], net["strategy"]) for net in nets] == [
        ("natural-s0.99", "random"), ("natural-s0.99", "l2"), ("natural-s0.99", "l2 (eq3)"),
    ]  # fmt: skip
    assert [layer["name"] for layer in nets[0]["layers"]][-3:] == ["dense1", "dense2", "dense3"]


def test_a_page_of_the_project_names_no_folder_above_it(source, tmp_path, monkeypatch):
    shutil.copytree(source, tmp_path / "outputs" / "quick")
    monkeypatch.chdir(tmp_path)
    page = report.make_report(Path("outputs/quick"), Path("outputs") / report.PAGE)
    text = page.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "output=" not in text
    assert "rewire thesis evaluate" in text


def test_a_whole_folder_gives_no_warning(source, text):
    assert said(source) == []
    assert 'class="warnings"' not in text


def test_an_outdated_cell_is_named_on_the_page_and_at_its_numbers(copied):
    weights = copied / "train" / CELLS["l2"] / "weights.safetensors"
    shutil.copy(copied / "train" / ARM / "weights.safetensors", weights)
    list_anew(weights)
    found = said(copied)
    outdated = f"evaluate/{CELLS['l2']} is outdated: its input of train"
    assert any(line.startswith(outdated) for line in found)
    assert not any("damaged" in line or CELLS["random"] in line for line in found)
    page = report.make_report(copied, copied.parent / "page.html").read_text(encoding="utf-8")
    assert page.index("Know this first") < page.index(outdated) < page.index('id="thesis"')
    for place, doubtful in enumerate((False, True)):  # of the pruned networks
        wanted = rf'class="number([^"]*)" data-explain="thesis_table2-3-{place}"'
        assert ("doubtful" in re.search(wanted, page)[1]) == doubtful
    said_so = re.search(r'<template id="x-thesis_table2-3-1">(.*?)</template>', page, re.DOTALL)[1]
    assert html.escape(command_for(copied / "evaluate" / CELLS["l2"])) in said_so


def test_damaged_missing_and_unfinished_results_are_named(copied):
    history = copied / "train" / CELLS["random"] / "history.csv"
    history.write_text(history.read_text() + "\n")
    (copied / "structure" / CELLS["random"] / "trained.png").unlink()
    (copied / "prune" / CELLS["l2"] / MANIFEST).unlink()
    found = said(copied)
    assert f"train/{CELLS['random']}/history.csv is damaged." in found
    assert f"structure/{CELLS['random']}/trained.png is missing." in found
    assert f"prune/{CELLS['l2']} is not finished." in found


def test_cells_of_two_scales_in_one_folder_are_named(copied):
    other = copied / "train" / "natural-s0.99-weighted-seed0"
    shutil.copytree(copied / "train" / CELLS["l2"], other)
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("width: 0.1", "width: 0.2"))
    list_anew(config)
    (found,) = [line for line in said(copied) if "different scales" in line]
    assert "width 0.1, 2 epochs: natural-s0.99-l2-seed0, natural-s0.99-random-seed0" in found
    assert "width 0.2, 2 epochs: natural-s0.99-weighted-seed0" in found
    assert "eq3" not in found  # an arm says by its name that it is one


def test_the_page_says_how_a_network_is_loaded_and_what_it_says_is_so(text, source):
    (path,) = re.findall(r"rewire\.load\(&#34;(.*?)&#34;\)|rewire\.load\(\"(.*?)\"\)", text)
    network = load("".join(path))
    assert Path("".join(path)) == source / "train" / CELLS["random"]
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_tables_of_variants_are_shown_where_a_variant_was_run(copied, text):
    assert 'id="thesis_arms_distance"' in text
    assert 'id="thesis_baselines_natural_0.99"' not in text  # no baseline was trained
    shutil.rmtree(copied / "train" / ARM)
    assert report.read_report(copied).thesis.further == ()


def test_networks_beyond_the_limit_leave_their_dense_layers(source, monkeypatch):
    names = list(CELLS.values())
    every, note = report_thesis.pack(source, names)
    assert note == ""
    first = report_thesis.size(every[0].layers)
    monkeypatch.setattr(report_thesis, "LARGEST", first + 2_500)
    fewer, note = report_thesis.pack(source, names)
    assert [len(net.layers) for net in fewer] == [11, 3]
    assert names[1] in note
    assert names[0] not in note


def test_a_sweep_of_variants_shows_its_cells_where_the_tables_would_be(copied, source):
    for stage in ("train", "prune", "evaluate", "structure"):
        for cell in CELLS.values():
            shutil.rmtree(copied / stage / cell)
    for rewire in ("weighted", "random"):
        name = ARM.replace("l2", rewire)
        shutil.copytree(copied / "train" / ARM, copied / "train" / name)
    found = report.read_report(copied)
    assert found.thesis.tables == ()
    assert [net.strategy for net in found.thesis.matrices] == [
        "random (eq3)", "l2 (eq3)", "weighted (eq3)",
    ]  # fmt: skip
    text = render_report(found)
    assert text.index('id="cells"') < text.index('id="matrices"')
    assert 'href="#cells"' in text
    assert text.count('id="cells"') == 1


def test_only_one_document_is_a_report_too(copied):
    for folder in copied.glob("article_*"):
        shutil.rmtree(folder)
    found = report.read_report(copied)
    assert found.article is None
    assert found.thesis is not None


def test_what_is_no_result_is_refused_in_one_line_and_nothing_is_written(tmp_path, source, capsys):
    empty = tmp_path / "quick"
    empty.mkdir()
    shutil.copytree(source, tmp_path / "fast")
    for folders, message in (
        ([empty], "no finished training in"),
        (
            [tmp_path / "fast"],
            "has the name of no profile. Allowed: cpu, gpu, paper, quick, structure",
        ),
        ([tmp_path / "nowhere"], "there is no folder"),
        ([source, empty], "2 folders"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(["report", *map(str, folders)])
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert message in line
        assert "Allowed" in line
    assert not (tmp_path / "report").exists()


def test_a_damaged_file_is_one_error_that_names_it(copied):
    (copied / "train" / CELLS["l2"] / "history.csv").write_text("epoch,test_accuracy\n1,much\n")
    with pytest.raises(InputError, match=r"history\.csv' is damaged"):
        report.make_report(copied, copied.parent / "page.html")
    assert not (copied.parent / "page.html").exists()


def test_help_answers_without_torch():
    text = "import sys; from rewire.tools import report\ntry: report.main(['--help'])\n"
    done = run("-c", text + "except SystemExit: print('torch' in sys.modules)")
    assert done.stdout.splitlines()[-1] == "False"
    assert "outputs/report/index.html" in done.stdout


def test_commands_follow_the_inputs_of_stages():
    assert chain("audit") == ("train", "prune", "evaluate")
    assert chain("article_curves") == ("article_train", "article_noise")
