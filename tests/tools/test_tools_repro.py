"""`rewire repro` on a pipeline of its own: what it says, and how it ends and is ended."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from helpers.small import ROOT, run

from rewire.tools import repro
from rewire.tools.repair_lock import IN_USE, mend
from rewire.tools.repro import Progress, stage_names, usual

PIPELINE = """
vars: [params.yaml]
stages:
  train:
    matrix: {cell: "${thesis.cells}", seed: "${thesis.seeds}"}
    cmd: test -e fast || sleep 60; cp source ${item.cell}${item.seed}.txt
    deps: [source]
    outs: ["${item.cell}${item.seed}.txt"]
  tables:
    cmd: cat a0.txt b0.txt > both.txt
    deps: [a0.txt, b0.txt]
    outs: [both.txt]
"""
ALL = ["train@a-0", "train@b-0", "tables"]


@pytest.fixture
def project(tmp_path) -> Path:
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text("profile: quick\nthesis: {cells: [a, b], seeds: [0]}\n")
    (tmp_path / "source").write_text("text")
    (tmp_path / "fast").touch()
    assert run("-m", "dvc", "init", "--no-scm", "-q", cwd=tmp_path).returncode == 0
    return tmp_path


def test_it_says_how_far_it_is_and_ends_with_the_address_of_the_page(project):
    first = run("-m", "rewire", "repro", cwd=project)
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    for number, name in enumerate(ALL, start=1):
        above = lines[lines.index(f"Running stage '{name}':") - 1]
        assert re.fullmatch(rf"stage {number} of 3, (about \w+|less than a) \w+ left", above)
    page = (project / "outputs" / "report" / "index.html").as_uri()
    assert lines[-1] == f"results: {page}"
    assert lines[-2].startswith("3 of 3 stages ran")
    again = run("-m", "rewire", "repro", cwd=project).stdout
    assert not re.search("^stage", again, re.MULTILINE)
    assert "0 of 3 stages ran" in again


def test_names_are_those_of_dvc(tmp_path):
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path)
    assert run("-m", "dvc", "init", "--no-scm", "-q", cwd=tmp_path).returncode == 0
    listed = run("-m", "dvc", "stage", "list", "--name-only", cwd=tmp_path).stdout.split()
    files = (yaml.safe_load((ROOT / name).read_text()) for name in ("dvc.yaml", "params.yaml"))
    assert sorted(stage_names(*files)) == sorted(listed)


def test_a_stage_that_fails_ends_it_as_it_ends_dvc(project):
    (project / "source").unlink()
    ours, theirs = (run("-m", *words, "repro", cwd=project) for words in (["rewire"], ["dvc"]))
    assert ours.returncode == theirs.returncode != 0
    assert "results:" not in ours.stdout


def hear(progress: Progress, text: str) -> None:
    progress.emit(logging.LogRecord("dvc", logging.INFO, "", 0, text, (), None))


def test_the_time_left_follows_what_the_stages_take_here(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(repro.time, "monotonic", lambda: clock[0])
    names = ["train@natural-a", "train@trades-a", "prune@a", "tables"]
    progress = Progress(names, quick=True)
    hear(progress, "Running stage 'train@natural-a':")
    assert progress.seconds_left() == sum(map(usual, names))
    clock[0] = 3 * usual(names[0])  # three times as slow as usual
    hear(progress, "Running stage 'train@trades-a':")
    assert progress.seconds_left() == 3 * sum(map(usual, names[1:]))
    clock[0] += 6 * usual(names[1])
    hear(progress, "Stage 'prune@a' didn't change, skipping")
    clock[0] += 1000  # DVC's own
    hear(progress, "Running stage 'tables':")
    assert progress.took == {names[0]: 3 * usual(names[0]), names[1]: 6 * usual(names[1])}
    slowness = sum(progress.took.values()) / (usual(names[0]) + usual(names[1]))
    assert progress.seconds_left() == slowness * usual("tables")
    assert "at most about" in capsys.readouterr().out.splitlines()[-1]
    monkeypatch.setattr(progress, "seconds_left", lambda: 20.0)
    assert progress.line() == "stage 4 of 4, less than a minute left"


def test_at_another_scale_it_promises_nothing_before_a_stage_has_run(capsys):
    progress = Progress(ALL, quick=False)
    hear(progress, f"Running stage '{ALL[0]}':")
    assert capsys.readouterr().out == "stage 1 of 3\n"
    hear(progress, f"Running stage '{ALL[1]}':")
    assert "left" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("profile: structure\n", "unknown profile 'structure'"),
        ("profile: quick\nthesis: {}\n", "'params.yaml': thesis.cells is None. Allowed: a list."),
        ("quick\n", "unknown profile 'None'"),
    ],
)
def test_params_that_cannot_run_are_one_line(params, message, tmp_path):
    (tmp_path / "params.yaml").write_text(params)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    found = run("-m", "rewire", "repro", cwd=tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith(f"error: {message}")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--profile", "papre"], "unknown profile 'papre'. Did you mean 'paper'?"),
        ([], "cannot read 'params.yaml' here"),
    ],
)
def test_what_cannot_run_is_one_line(words, message, tmp_path):
    found = run("-m", "rewire", "repro", *words, cwd=tmp_path)
    assert found.returncode == 2
    assert found.stderr.startswith(f"error: {message}")
    assert found.stderr.count("\n") == 1


def start(project: Path) -> subprocess.Popen:
    """A run whose first stage takes its time."""
    (project / "fast").unlink()
    process = subprocess.Popen(
        [sys.executable, "-m", "rewire", "repro"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Children of a script in the background find interrupts ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not process.stdout.readline().startswith("> "):
        assert process.poll() is None
    for _ in range(100):
        if (project / IN_USE).is_file() and "repro" in (project / IN_USE).read_text():
            break
        time.sleep(0.05)
    (project / "fast").touch()
    return process


def test_a_kill_costs_nothing_and_a_run_at_work_is_not_mended_away(project):
    process = start(project)
    assert mend(project) == []
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    again = run("-m", "rewire", "repro", cwd=project)
    assert again.returncode == 0
    assert f"mended {IN_USE}: not in use any more by process {process.pid}" in again.stdout
    assert (project / "both.txt").read_text() == "texttext"


def test_ctrl_c_ends_it_and_its_stage(project):
    process = start(project)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "results:" not in said
