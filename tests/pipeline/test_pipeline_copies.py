"""A stage runs the code and configuration beside it, whatever is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rewire.engine import library

ROOT = Path(__file__).resolve().parents[2]
# In the place of a training: says whose code and configuration it is.
STAND_IN = """
from pathlib import Path
def run(config, overrides):
    folder = Path("made")
    folder.mkdir(exist_ok=True)
    (folder / "said.txt").write_text(f"VERSION {Path(__file__)} {config.trainer.lr}")
"""
# Beside the copies: what is installed, here the checkout that is tested.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src")}


def copy_of_checkout(folder: Path) -> Path:
    """A copy without builds whose training is `STAND_IN`."""
    left_out = shutil.ignore_patterns("__pycache__", "_kernels_*", "embedded")
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    for name in ("stage.py", "train.py"):
        shutil.copy(ROOT / name, folder)
    (folder / "src" / "rewire" / "thesis" / "train.py").write_text(STAND_IN)
    return folder


def called(folder: Path, *command: str) -> subprocess.CompletedProcess:
    ran = subprocess.run(
        [sys.executable, *command], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran


def set_rate(folder: Path, rate: float) -> None:
    path = folder / "conf" / "thesis" / "trainer" / "thesis.yaml"
    path.write_text(re.sub(r"^lr: \S+", f"lr: {rate}", path.read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize(
    "command", [("stage.py", "thesis", "train"), ("train.py",)], ids=lambda c: c[0]
)
def test_a_copy_runs_its_own_code_and_configuration(command, tmp_path):
    folder = copy_of_checkout(tmp_path / "copy")
    set_rate(folder, 0.2)
    called(folder, *command, "rewire=l2")
    own = folder / "src" / "rewire" / "thesis" / "train.py"
    assert (folder / "made" / "said.txt").read_text() == f"VERSION {own} 0.2"


def test_what_a_stage_starts_imports_from_the_same_folder(tmp_path):
    folder = copy_of_checkout(tmp_path / "copy")
    train = folder / "src" / "rewire" / "thesis" / "train.py"
    train.write_text(
        "import subprocess, sys\n"
        "def run(config, overrides):\n"
        "    code = 'import rewire; print(rewire.__file__)'\n"
        "    subprocess.run([sys.executable, '-c', code], check=True)\n"
    )
    assert str(folder / "src" / "rewire") in called(folder, "train.py", "rewire=l2").stdout


def test_a_copy_takes_the_engine_that_is_installed(tmp_path):
    folder = copy_of_checkout(tmp_path / "copy")
    code = "from rewire.engine import library; print(library.__file__, library.instruction_set())"
    own = [str(folder / "src"), ENVIRONMENT["PYTHONPATH"]]
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(own)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == [
        str(folder / "src" / "rewire" / "engine" / "library.py"),
        str(library.instruction_set()),
    ]


def test_without_arguments_it_says_what_there_is_to_run():
    ran = subprocess.run([sys.executable, "stage.py"], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "rewire thesis {train,prune," in ran.stdout


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.reliability
def test_a_queued_experiment_runs_what_was_queued_and_not_what_the_workspace_is_by_then(tmp_path):
    folder = copy_of_checkout(tmp_path / "copy")
    train = folder / "src" / "rewire" / "thesis" / "train.py"
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]["cmd"]
    stage = {
        "cmd": declared.replace("${item.cell}", "natural-s0.95").replace("${item.rewire}", "l2")
        .replace("${item.seed}", "0").replace("${profile}", "quick"),
        "deps": ["src/rewire/thesis/train.py", "conf"],
        "params": ["seed"],
        "outs": ["made"],
    }  # fmt: skip
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    (folder / "params.yaml").write_text("seed: 0\n")
    (folder / ".gitignore").write_text("__pycache__\n")
    git(folder, "init", "-q")
    called(folder, "-m", "dvc", "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    train.write_text(STAND_IN.replace("VERSION", "queued"))
    set_rate(folder, 0.2)
    called(folder, "-m", "dvc", "exp", "run", "--queue", "--name", "first", "-S", "seed=1")
    train.write_text(STAND_IN.replace("VERSION", "workspace"))
    set_rate(folder, 0.3)
    called(folder, "-m", "dvc", "exp", "run", "--run-all")
    called(folder, "-m", "dvc", "get", "--rev", "first", ".", "made/said.txt", "-o", "said")
    version, file, rate = (folder / "said").read_text().split()
    assert (version, rate) == ("queued", "0.2")
    assert ".dvc/tmp/exps" in file
