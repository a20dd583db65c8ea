"""Sweeps on a real Slurm, preempted, out of time, with their driver killed: the bits are the same.

Every sweep is compared with the same cells trained on this machine without Slurm.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.one_node import CPUS
from helpers.small import ROOT, run

from rewire.files import read_json

pytestmark = pytest.mark.slurm

SEEDS = (0, 1)
CELL = (
    "model.width=0.1",
    "data.train_size=64",
    "data.test_size=20",
    "data.validation_size=10",
    "trainer.epochs=12",
    "trainer.checkpoint_every=1",
    "tracking=off",
    "sparsity=0.9",
)
SWEEP = ("train.py", "-m", *CELL, f"seed={','.join(map(str, SEEDS))}")
ON_SLURM = ("hydra.launcher.engine=submitit", "hydra.launcher.cluster.minutes=3")
RESULTS = ("weights.safetensors", "metrics.json", "history.csv")
WAIT = 300.0  # seconds, more than anything here takes on a busy machine


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """The cells of the sweep, trained on this machine."""
    output = tmp_path_factory.mktemp("here")
    for seed in SEEDS:
        done = run("train.py", *CELL, f"seed={seed}", f"output={output}")
        assert done.returncode == 0, done.stderr
    return output


class Driver:
    """A sweep on Slurm as a process of its own, with what it says in a file."""

    def __init__(self, output: Path, *more: str) -> None:
        self.said = output.with_name(f"{output.name}-{time.monotonic_ns()}.txt")
        with open(self.said, "w") as out:
            self.process = subprocess.Popen(
                [sys.executable, *SWEEP, *ON_SLURM, f"output={output}", *more],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                process_group=0,
            )

    def text(self) -> str:
        return self.said.read_text()

    def ends(self) -> str:
        """All that it said, once it has ended."""
        self.process.wait(WAIT)
        return self.text()


def until(found: Callable[[], Any]) -> Any:
    end = time.monotonic() + WAIT
    while not (it := found()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return it


def states(output: Path) -> list[Path]:
    return list(output.glob("quick/checkpoints/*/last.ckpt"))


def cells(output: Path) -> dict[str, bytes]:
    """Every file of a result that must be the same, by cell and name."""
    folders = list((output / "quick" / "train").iterdir())
    return {f"{f.name}/{name}": (f / name).read_bytes() for f in folders for name in RESULTS}


def starts(output: Path) -> list[int]:
    """How often each cell was started, by its log."""
    logs = sorted((output / "quick" / "logs" / "train").iterdir())
    return [1 + log.read_text().count("-- started again") for log in logs]


def check_same(output: Path, here: Path) -> None:
    found, expected = cells(output), cells(here)
    assert found.keys() == expected.keys()
    assert [key for key in found if found[key] != expected[key]] == []


def test_a_sweep_on_slurm_is_the_same_as_here(slurm_env, here, tmp_path):
    driver = Driver(tmp_path / "out")
    said = driver.ends()
    assert driver.process.returncode == 0, said
    assert "2 jobs, 2 at a time, by submitit" in said  # all at once, although nobody said so
    assert "2 jobs in " in said
    check_same(tmp_path / "out", here)
    assert starts(tmp_path / "out") == [1, 1]


def test_a_preempted_sweep_is_waited_for_and_is_the_same_as_here(slurm_env, here, tmp_path):
    output = tmp_path / "out"
    driver = Driver(output)
    halt(until(lambda: states(output)), output)  # else it may be done before Slurm has made room
    everything = f"--cpus-per-task={CPUS}"
    urgent = ["sbatch", "--partition=urgent", everything, "--output=/dev/null", "--wrap=sleep 3"]
    subprocess.run(urgent, check=True, capture_output=True)
    said = driver.ends()
    assert driver.process.returncode == 0, said
    assert "2 jobs in " in said
    assert "failed" not in said
    assert max(starts(output)) > 1
    check_same(output, here)


def test_a_sweep_out_of_its_time_goes_on_and_is_the_same_as_here(slurm_env, here, tmp_path):
    output = tmp_path / "out"
    driver = Driver(output)
    halt(until(lambda: states(output)), output)
    said = driver.ends()
    assert driver.process.returncode == 0, said
    assert "2 jobs in " in said
    assert sorted(starts(output)) == [1, 2]
    check_same(output, here)


def halt(trained: list[Path], output: Path) -> None:
    """Stop the process of the first of these states: from now on only its time goes on."""
    seed = f"seed={trained[0].parent.name.partition('-seed')[2][0]}"
    halted = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:  # it has ended
            continue
        if {"rewire", "thesis", "train", seed, f"output={output}"} <= set(command):
            os.kill(int(process.name), signal.SIGSTOP)
            halted.append(process)
    assert halted, "it has ended already"


def test_a_sweep_whose_driver_is_killed_is_followed_by_the_next_one(slurm_env, here, tmp_path):
    output = tmp_path / "out"
    # Until the second driver has looked no job may start, however slow the driver is.
    busy = ["sbatch", "--parsable", "--partition=urgent", f"--cpus-per-task={CPUS}"]
    busy += ["--output=/dev/null", "--wrap=sleep 600"]
    number = subprocess.run(busy, capture_output=True, text=True, check=True).stdout.strip()
    first = Driver(output)
    until(lambda: first.text().count("submitted as ") == 2)
    os.killpg(first.process.pid, signal.SIGKILL)
    first.process.wait()
    second = Driver(output)
    until(lambda: second.text().count("submitted already as ") == 2)
    subprocess.run(["scancel", number], check=True)
    said = second.ends()
    assert second.process.returncode == 0, said
    assert said.count("submitted already as ") == 2
    assert "submitted as" not in said
    assert starts(output) == [1, 1]
    check_same(output, here)
    third = Driver(output).ends()
    assert third.count("finished already") == 2
    assert "2 jobs (2 skipped) in " in third


def test_a_failed_cell_is_failed_for_slurm_too_and_its_retry_goes_there(slurm_env, tmp_path):
    output = tmp_path / "out"
    bad = ("data.source=embedded,folder", f"data.root={tmp_path}/absent")
    driver = Driver(output, "trainer.epochs=1", "seed=0", *bad)
    said = driver.ends()
    assert driver.process.returncode == 1, said
    assert "2 jobs (1 done, 1 failed) in " in said
    (retry,) = (line for line in said.splitlines() if line.startswith("  retry: "))
    assert retry.startswith("  retry: rewire thesis train -m ")
    assert retry.endswith(" ".join(ON_SLURM))
    number = next(
        line.split()[-1] for line in said.splitlines()
        if line.startswith("[2/2]") and "submitted as" in line
    )  # fmt: skip
    shown = subprocess.run(
        ["squeue", "--states=all", "--noheader", "--array", f"--jobs={number}", "--format=%T"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert shown.stdout.split() == ["FAILED"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("partition=absent", "invalid partition"),
        ("+more.time=never", "Invalid --time"),
        ("+more.nonsense=1", "nonsense"),
    ],
)
def test_what_sbatch_refuses_is_one_line_and_leaves_nothing(slurm_env, tmp_path, wrong, says):
    key = "+hydra.launcher.cluster." if wrong[0] == "+" else "hydra.launcher.cluster."
    done = run(
        *SWEEP, *ON_SLURM, f"output={tmp_path}/out", key + wrong.lstrip("+"), env=dict(slurm_env)
    )
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the cluster refuses the jobs: ")
    assert says in line
    assert list((tmp_path / "out" / "quick" / "logs" / "submitit").iterdir()) == []
    assert not (tmp_path / "out" / "quick" / "train").exists()


def test_several_tasks_train_one_cell_and_nobody_elses_state(slurm_env, here, tmp_path):
    working, output = tmp_path / "working", tmp_path / "out"
    working.mkdir()
    # Lightning itself would go on from any file of this name.
    shutil.copy(next(here.glob("quick/train/*/weights.safetensors")), working / "hpc_ckpt_1.ckpt")
    train = [sys.executable, str(ROOT / "train.py"), *CELL, "seed=0", f"output={output}"]
    done = subprocess.run(
        ["srun", "--ntasks=2", f"--chdir={working}", *train], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in working.iterdir()) == ["hpc_ckpt_1.ckpt"]
    expected = {key: value for key, value in cells(here).items() if "-seed0" in key}
    assert cells(output) == expected
    assert read_json(next(output.glob("quick/train/*/manifest.json")))
