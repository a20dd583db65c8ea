"""`dvc repro` killed at random moments and started again: the same dvc.lock, no manual step."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml
from helpers.small import ROOT

from rewire.tools.repair_lock import mend
from rewire.tools.verify_lock import check

KILLS, AT_ONCE = 10, 2
WORTH_TELLING = re.compile("^(mended|finished already|waiting|resum|Running|WARNING|ERROR)")
WHOM = ("everything", "stage", "dvc")  # what is killed; a stage goes on alone without its DVC
TINY = """
data: {train_size: 1000, test_size: 100, validation_size: 20}
model: {width: 0.25}
trainer: {epochs: 5, batch_size: 32, precision: 32-true, checkpoint_every: 1, threads: 1}
attack: {images: 100, restarts: 2, batch_size: 8}
objective: {}
rewire: {}
prune: {}
audit: {images: 20, steps: 2, step_sweep: [1, 2], noise_draws: 2, autoattack: {images: 0}}
"""
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
}

pytestmark = pytest.mark.reliability


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=folder,
        env=ENVIRONMENT | {"PYTHONPATH": str(folder / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(folder: Path) -> str:
    """What `make repro` does; returns what it said."""
    said = "".join(f"mended {line}\n" for line in mend(folder))
    run = start(folder)
    said += run.communicate(timeout=300)[0]
    assert run.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    """A copy of this checkout with one cell of the thesis on a few images.

    There is no other network for its audit to transfer from.
    """
    folder = tmp_path_factory.mktemp("pipeline") / "template"
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "-co",
            "--exclude-standard",
            "--",
            "src",
            "conf",
            "*.yaml",
            "stage.py",
            ".dvcignore",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    stages = {name: stage for name, stage in stages.items() if not name.startswith("article")}
    tables = stages["tables"]
    kept = [p for p in tables["params"] if "article" not in str(p)]
    tables |= {"cmd": tables["cmd"][:1], "params": kept}
    tables["deps"] = [n for n in tables["deps"] if "article" not in n]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"vars": ["params.yaml"], "stages": stages}))
    cells = ["natural-s0.95"]
    axes = {"cells": cells, "rewire": ["l2"], "seeds": [0], "audited": cells}
    (folder / "params.yaml").write_text(yaml.safe_dump({"profile": "quick", "thesis": axes}))
    quick = folder / "conf" / "thesis" / "profile" / "quick.yaml"
    profile = yaml.safe_load(quick.read_text())["profile"]
    quick.write_text(
        f"# @package _global_\n{yaml.safe_dump({'defaults': [], 'profile': profile})}{TINY}"
    )
    config = folder / "conf" / "thesis" / "config.yaml"
    config.write_text(config.read_text().replace("tracking: offline", "tracking: 'off'"))
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def reference(pipeline) -> tuple[bytes, float]:
    """dvc.lock of an undisturbed run and the seconds that it took."""
    folder = shutil.copytree(pipeline, pipeline.parent / "reference")
    began = time.monotonic()
    finish(folder)
    return (folder / "dvc.lock").read_bytes(), time.monotonic() - began


def kill(run: subprocess.Popen, whom: str) -> None:
    """SIGKILL to DVC and its stage, to the stage's process alone, or to DVC alone."""
    if whom == "everything":
        os.killpg(run.pid, signal.SIGKILL)
    elif whom == "dvc":
        run.kill()
    else:
        for child in psutil.Process(run.pid).children(recursive=True):
            child.kill()


def interrupted(pipeline: Path, seconds: float, number: int) -> tuple[bytes, bool]:
    """(dvc.lock after a kill and a second start, whether the kill came in time)."""
    folder = shutil.copytree(pipeline, pipeline.parent / f"killed{number}")
    draw = random.Random(number)
    whom, after = WHOM[number % len(WHOM)], draw.uniform(0.05, 0.95) * seconds
    run = start(folder)
    time.sleep(after)
    in_time = run.poll() is None
    if in_time:
        kill(run, whom)
    if whom == "dvc":
        run.wait()  # its stage is still at work, and stays so while the next DVC starts
    else:
        run.communicate(timeout=300)
    said = finish(folder)
    print(f"{whom} killed after {after:.1f} s, in time: {in_time}; mended or said of the kill:")
    print(*(line[:150] for line in said.splitlines() if WORTH_TELLING.search(line)), sep="\n")
    faults, looked_at = check(folder)
    assert looked_at > 15
    assert not faults, (faults, said)
    return (folder / "dvc.lock").read_bytes(), in_time


def test_the_same_lock_file_after_every_kill(pipeline, reference):
    lock, seconds = reference
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = list(pool.map(lambda number: interrupted(pipeline, seconds, number), range(KILLS)))
    assert [found for found, _ in runs] == [lock] * KILLS
    # Several at once are slower than the reference was alone: hardly any can be over before.
    assert sum(in_time for _, in_time in runs) >= KILLS - 2


def test_a_list_with_one_strategy_is_a_pipeline(pipeline):
    folder = shutil.copytree(pipeline, pipeline.parent / "one")
    assert "params.yaml lists none of random; the check is left out" in finish(folder)
    folders = {path.name for path in (folder / "outputs" / "quick").iterdir()}
    assert {"train", "prune", "evaluate", "structure", "surrogates", "audit"} <= folders
    assert (folder / "outputs" / "tables" / "thesis_table3.md").is_file()
