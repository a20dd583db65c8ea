"""Jobs on a real Slurm, without accounting: cancelled, waiting, in pieces, followed by two."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from pathlib import Path

import pytest
from helpers.one_node import CPUS, MOST

from rewire.sweep import slurm as module
from rewire.sweep.local import Job
from rewire.sweep.slurm import ClusterJobs

pytestmark = pytest.mark.slurm

SETTINGS = {
    "kind": "slurm", "partition": "main", "minutes": 5, "cpus": 1, "gpus": 0, "memory_gb": None,
    "more": {},
}  # fmt: skip
WAIT = 120.0


@pytest.fixture(autouse=True)
def quick(slurm_env, monkeypatch):
    monkeypatch.setattr(module, "LOOK", 1.0)
    monkeypatch.setattr(module, "GRACE", 3.0)


def shell(tmp_path, name: str, text: str) -> Job:
    return Job(name, ("sh", "-c", text), tmp_path / "logs" / f"{name}.log")


def runner(tmp_path, at_a_time: int = 100) -> ClusterJobs:
    return ClusterJobs(SETTINGS, at_a_time=at_a_time, folder=tmp_path / "submitit")


def slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Running(threading.Thread):
    """A sweep of jobs beside the test."""

    def __init__(self, sweep: ClusterJobs, jobs: list[Job]) -> None:
        super().__init__(daemon=True)
        self.sweep, self.jobs, self.rows = sweep, jobs, []
        self.start()

    def run(self) -> None:
        self.rows = self.sweep.run(self.jobs)

    def ends(self) -> list[dict]:
        self.join(WAIT)
        return self.rows


def seen(capsys, pattern: str) -> re.Match:
    """The first of what was said that fits, waited for."""
    said, until = "", time.monotonic() + WAIT
    while time.monotonic() < until:
        said += capsys.readouterr().out
        if found := re.search(pattern, said):
            return found
        time.sleep(0.2)
    raise AssertionError(said)


def test_why_a_job_waits_is_said_and_one_cancelled_before_its_start_is_noticed(tmp_path, capsys):
    busy = slurm("sbatch", "--parsable", "--partition=urgent", f"--cpus-per-task={CPUS}",
                 "--output=/dev/null", "--wrap=sleep 60").strip()  # fmt: skip
    sweep = Running(runner(tmp_path), [shell(tmp_path, "one", "echo wrote it")])
    number = seen(capsys, r"one: submitted as (\d+)")[1]
    seen(capsys, r"on the cluster: 1 wait \((Resources|Priority) 1\)")
    slurm("scancel", number)
    (row,) = sweep.ends()
    slurm("scancel", busy)
    assert (row["status"], row["error"]) == (
        "failed", f"job {number} ended without a result: CANCELLED",
    )  # fmt: skip


def test_a_running_job_that_is_cancelled_is_noticed_and_ends_whole(tmp_path, capsys):
    ready = tmp_path / "ready"
    sweep = Running(
        runner(tmp_path), [shell(tmp_path, "one", f"sleep 600 & echo $! > {ready}; wait")]
    )
    number = seen(capsys, r"one: submitted as (\d+)")[1]
    while not ready.exists() or not ready.read_text():
        time.sleep(0.1)
    slurm("scancel", number)
    (row,) = sweep.ends()
    assert row["error"] == f"job {number} ended without a result: CANCELLED"
    assert not Path("/proc", ready.read_text().strip()).exists()


@pytest.mark.parametrize("at_a_time", [100, 2])
def test_more_cells_than_an_array_holds_go_in_pieces(tmp_path, capsys, at_a_time):
    count = MOST + 2
    jobs = [shell(tmp_path, f"{i}", "echo wrote it") for i in range(count)]
    rows = runner(tmp_path, at_a_time).run(jobs)
    assert [row["status"] for row in rows] == ["done"] * count
    ids = re.findall(r"submitted as (\d+)_", capsys.readouterr().out)
    assert sorted(ids.count(each) for each in set(ids)) == [2, MOST]


def test_a_second_sweep_finds_the_jobs_of_the_first_one(tmp_path, capsys):
    ready = tmp_path / "go"
    wait = f"while [ ! -e {ready} ]; do sleep 0.1; done; echo wrote it"
    jobs = [shell(tmp_path, name, wait) for name in ("one", "two")]
    first = Running(runner(tmp_path), jobs)
    seen(capsys, r"two: submitted as \d+_1")
    third = shell(tmp_path, "three", "echo wrote it")
    second = Running(runner(tmp_path), [jobs[1], third, jobs[0]])
    seen(capsys, r"(?s)(submitted already as \d+_\d.*){2}three: submitted as \d+\n")
    ready.touch()
    assert [row["status"] for row in first.ends()] == ["done", "done"]
    assert [row["status"] for row in second.ends()] == ["done", "done", "done"]
    assert [job.log.read_text() for job in jobs] == ["wrote it\n", "wrote it\n"]
