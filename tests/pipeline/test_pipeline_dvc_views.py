"""What DVC's own commands show of the pipeline, printed by DVC itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.small import ROOT, run

from rewire.article.document import ARTICLE
from rewire.pipeline.dvc_views import write_views
from rewire.pipeline.dvc_yaml import plots, tables_stage
from rewire.thesis.document import THESIS
from rewire.tools.experiments import overview

CELLS = [f"natural-s0.99-{rewire}-seed0" for rewire in ("random", "l2")]
IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b")


def put(output: Path, *, clean: float) -> None:
    """Two cells of the thesis, of which one has no robust accuracy, and one of the article."""
    trainings = output / "quick" / "train"
    for number, cell in enumerate(CELLS):
        (trainings / cell).mkdir(parents=True, exist_ok=True)
        (trainings / cell / "history.csv").write_text(
            "epoch,step,train_loss,validation_accuracy,zero_vectors,births\n"
            f"1,10,2.5,{30 + number}.5,4.0,100\n2,20,2.0,40.0,5.0,50\n"
        )
    numbers = {"clean": clean, "robust": None, "zero vectors": 5.12345678}
    write_views(
        output,
        THESIS,
        rows={CELLS[0]: numbers, CELLS[1]: numbers | {"robust": 3.0}, "natural-s0.5-l2-seed9": {}},
        trainings=trainings,
    )
    article = {"ann-lq-seed0": {"clean": 98.0, "under noise": 33.0}}
    write_views(output, ARTICLE, rows=article, trainings=output / "none")


@pytest.fixture
def project(tmp_path) -> Path:
    """A repository with the pipeline's last outputs and views alone."""
    stage = {key: tables_stage(ROOT)[key] for key in ("metrics", "outs")} | {"cmd": "true"}
    outs = [out for out in stage["outs"] if out == "outputs/curves"]
    pipeline = {"stages": {"tables": stage | {"outs": outs}}, "plots": plots()}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    (tmp_path / "params.yaml").write_text("profile: quick\nthesis: {seeds: [0]}\n")
    git(tmp_path, "init", "-q")
    dvc(tmp_path, "init", "-q")
    shutil.copytree(ROOT / ".dvc" / "plots", tmp_path / ".dvc" / "plots")
    put(tmp_path / "outputs", clean=70.0)
    dvc(tmp_path, "commit", "-q", "-f", "tables")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=True, capture_output=True)


def dvc(folder: Path, *arguments: str) -> str:
    done = run("-m", "dvc", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def table(text: str) -> list[list[str]]:
    """The cells of a table that DVC prints."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip()]


def test_metrics_are_one_table_with_a_row_per_cell_and_their_changes_another(project):
    said = dvc(project, "metrics", "show")
    assert max(map(len, said.splitlines())) <= 120
    assert table(said) == [
        ["Path", "clean", "robust", "under noise", "zero vectors"],
        ["outputs/metrics/article/ann-lq-seed0.json", "98.0", "-", "33.0", "-"],
        [f"outputs/metrics/thesis/{CELLS[1]}.json", "70.0", "3.0", "-", "5.123"],
        [f"outputs/metrics/thesis/{CELLS[0]}.json", "70.0", "-", "-", "5.123"],
    ]
    put(project / "outputs", clean=71.5)
    assert sorted(table(dvc(project, "metrics", "diff"))[1:]) == [
        [f"outputs/metrics/thesis/{cell}.json", "clean", "70.0", "71.5", "1.5"]
        for cell in sorted(CELLS)
    ]


def test_a_cell_that_is_no_longer_listed_is_no_longer_shown(project):
    output = project / "outputs"
    write_views(output, THESIS, rows={}, trainings=output / "quick" / "train")
    assert list((output / "metrics" / "thesis").iterdir()) == []
    assert (output / "metrics" / "article" / "ann-lq-seed0.json").is_file()


def test_plots_are_the_trainings_a_panel_per_group_and_a_line_per_cell(project):
    dvc(project, "plots", "show")
    page = (project / "dvc_plots" / "index.html").read_text()
    drawn = [json.loads(text) for text in re.findall(r"var spec = (\{.*?\});\n", page, re.DOTALL)]
    assert len(drawn) == sum(len(d.curves) for d in (THESIS, ARTICLE))
    by_title = {spec["title"]: spec for spec in drawn}
    spec = by_title["thesis: zero vectors, %"]
    encoding = spec["spec"]["encoding"]
    assert [encoding[axis]["field"] for axis in ("x", "y")] == ["epoch", "zero_vectors"]
    assert {(row["panel"], row["line"], row["epoch"]) for row in spec["data"]["values"]} == {
        ("natural-s0.99", f"{rewire}-seed0", epoch)
        for rewire in ("random", "l2")
        for epoch in ("1", "2")
    }
    assert "<DVC" not in json.dumps(drawn)


def test_experiments_fit_a_screen(project):
    params = project / "params.yaml"
    put(project / "outputs", clean=72.0)
    params.write_text(params.read_text().replace("[0]", "[0, 1]"))
    said = run("-m", "rewire", "experiments", cwd=project)
    assert said.returncode == 0, said.stderr
    assert max(map(len, said.stdout.splitlines())) <= 120
    first, second, _, workspace, committed = table(said.stdout)
    assert first == [
        "experiment", "created", "profile", "article:", "robust", "thesis:", "thesis:",
        "under noise", "differs in",
    ]  # fmt: skip
    assert [name for name in second if name] == ["clean", "clean", "zero vectors"]
    assert "72" in workspace
    assert "70" in committed
    assert [row[-1] for row in (workspace, committed)] == [
        "thesis.seeds=[0, 1]",
        "thesis.seeds=[0]",
    ]


def test_experiments_without_dvc_in_the_folder_are_one_error_line(tmp_path):
    found = run("-m", "rewire", "experiments", cwd=tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith("error: DVC has no experiments here: ")
    assert found.stderr.count("\n") == 1


def test_numbers_that_cells_lack_are_no_part_of_a_mean():
    row = {"Experiment": None, "rev": "main", "Created": None, "profile": "quick"}
    path = "outputs/metrics/thesis/natural-s0.99-{}-seed0.json:{}".format
    first = row | {path("l2", "clean"): 10.0, path("random", "clean"): None, "robust": 4.0}
    second = row | {"rev": "abc", path("l2", "clean"): 20.0, path("random", "clean"): 40.0}
    assert overview([first, second]) == [
        {
            "experiment": name, "created": None, "profile": "quick", "robust": robust,
            "thesis: clean": clean, "differs in": "",
        }
        for name, robust, clean in (("main", 4.0, 10.0), ("abc", None, 30.0))
    ]  # fmt: skip
