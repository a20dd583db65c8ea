"""A sweep's jobs through submitit: the same rows as on this machine, whoever runs them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from stages.small import SMALL, run

from rewire.errors import InputError
from rewire.stages.cluster import ClusterJobs, Command, check_cluster, resources
from rewire.stages.jobs import Job

SETTINGS = {
    "kind": "local",
    "partition": None,
    "minutes": 5,
    "cpus": 1,
    "gpus": 0,
    "memory_gb": None,
    "more": {},
}
WAIT = 60.0


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """submitit's processes unpickle a class of this project."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def shell(tmp_path, name: str, text: str) -> Job:
    return Job(name, ("sh", "-c", text), tmp_path / "logs" / f"{name}.log")


def cluster(tmp_path, at_a_time: int = 2) -> ClusterJobs:
    return ClusterJobs(SETTINGS, at_a_time=at_a_time, folder=tmp_path / "submitit")


def gone(group: int) -> bool:
    """Whether a group of processes ends within a moment."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_jobs_through_submitit_end_as_they_would_here(tmp_path, capsys):
    jobs = [
        shell(tmp_path, "one", "echo $OMP_NUM_THREADS; echo wrote it"),
        shell(tmp_path, "two", "echo error: no; exit 2"),
        shell(tmp_path, "three", "kill -9 $$"),
    ]
    runner = cluster(tmp_path, at_a_time=3)
    rows = runner.run(jobs)
    assert runner.stopped is None
    states = [(row["status"], row["error"]) for row in rows]
    assert states == [("done", None), ("failed", "no"), ("failed", "ended by SIGKILL")]
    assert jobs[0].log.read_text() == "1\nwrote it\n"
    assert rows[0]["seconds"] < WAIT
    shown = capsys.readouterr().out
    assert all(f"{job.label}: submitted as " in shown for job in jobs)
    assert f"two: no (log: {jobs[1].log})" in shown


class Submitted:
    """A job as submitit knows it that never comes to a result."""

    job_id, cancelled = "17", False

    def __init__(self, folder, error: str | None = None) -> None:
        self.error = error
        self.paths = SimpleNamespace(result_pickle=folder / "absent")

    def done(self) -> bool:
        return self.error is not None

    def result(self):
        raise RuntimeError(self.error)

    def cancel(self) -> None:
        self.cancelled = True


def fake_submitit(monkeypatch, submitted: list[Submitted]) -> list[dict]:
    """Stand-in for submitit; returns where the resources asked for go."""
    asked, left = [], list(submitted)
    executor = SimpleNamespace(
        update_parameters=lambda **values: asked.append(values),
        batch=contextlib.nullcontext,
        submit=lambda command: left.pop(0),
    )
    module = SimpleNamespace(AutoExecutor=lambda *, folder, cluster: executor)
    monkeypatch.setitem(sys.modules, "submitit", module)
    monkeypatch.setattr("rewire.stages.cluster.PAUSE", 0.01)
    return asked


def test_slurm_gets_all_jobs_at_once_and_a_node_that_breaks_down_is_a_failure(
    tmp_path, monkeypatch
):
    names = ("one", "two")
    asked = fake_submitit(monkeypatch, [Submitted(tmp_path, f"lost {name}") for name in names])
    runner = ClusterJobs(SETTINGS | {"kind": "slurm"}, at_a_time=1, folder=tmp_path)
    rows = runner.run([shell(tmp_path, name, "true") for name in names])
    assert [(row["status"], row["error"]) for row in rows] == [
        ("failed", "lost one"),
        ("failed", "lost two"),
    ]
    assert [values["slurm_array_parallelism"] for values in asked] == [1]


def test_cancelled_jobs_that_nobody_accounts_for_are_not_waited_for(tmp_path, monkeypatch):
    submitted = [Submitted(tmp_path), Submitted(tmp_path)]
    fake_submitit(monkeypatch, submitted)
    monkeypatch.setattr("rewire.stages.cluster.PATIENCE", 0.1)
    runner = ClusterJobs(SETTINGS | {"kind": "slurm"}, at_a_time=2, folder=tmp_path)
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()
    rows = runner.run([shell(tmp_path, name, "true") for name in ("one", "two")])
    assert [row["status"] for row in rows] == ["stopped", "stopped"]
    assert [row["error"] for row in rows] == ["SIGTERM", "SIGTERM"]
    assert all(job.cancelled for job in submitted)


@pytest.mark.parametrize("interrupt", [signal.default_int_handler, signal.SIG_IGN])
def test_a_signal_cancels_what_was_submitted(tmp_path, interrupt):
    before = signal.signal(signal.SIGINT, interrupt)  # ignored: as in the background of a script
    try:
        check_cancelled(tmp_path)
        assert signal.getsignal(signal.SIGINT) == interrupt
    finally:
        signal.signal(signal.SIGINT, before)


def check_cancelled(tmp_path):
    ready = tmp_path / "ready"
    text = f"sleep 600 & echo $$ > {ready}.new; mv {ready}.new {ready}; wait"
    jobs = [shell(tmp_path, "long", text), shell(tmp_path, "next", "true")]

    def interrupt():
        while not ready.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    runner = cluster(tmp_path, at_a_time=1)
    started = time.monotonic()
    rows = runner.run(jobs)
    assert time.monotonic() - started < WAIT
    assert runner.stopped == signal.SIGTERM
    assert [row["status"] for row in rows] == ["stopped", "stopped"]
    assert not jobs[1].log.exists()
    assert gone(int(ready.read_text()))


def test_a_job_that_slurm_ends_is_queued_again_as_it_was(tmp_path):
    command = Command(shell(tmp_path, "long", "sleep 600 & wait"), cpus=1)
    results = []
    thread = threading.Thread(target=lambda: results.append(command()))
    thread.start()
    while command._process is None:
        time.sleep(0.01)
    again = command.checkpoint()
    thread.join(WAIT)
    assert results[0][0] == -signal.SIGKILL  # it does not go on beside its successor
    assert gone(command._process.pid)
    assert again.function.job == command.job
    assert again.function._process is None


def test_what_a_job_asks_for():
    more = {"account": "lab", "qos": "long"}
    asked = resources(
        SETTINGS | {"partition": "gpu", "gpus": 1, "memory_gb": 8, "more": more}, at_a_time=4
    )
    assert asked == {
        "name": "rewire",
        "timeout_min": 5,
        "cpus_per_task": 1,
        "gpus_per_node": 1,
        "mem_gb": 8,
        "slurm_partition": "gpu",
        "slurm_array_parallelism": 4,
        "slurm_additional_parameters": more,
    }
    assert "slurm_partition" not in resources(SETTINGS, at_a_time=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "slrum"}, r"unknown hydra\.launcher\.cluster\.kind 'slrum'.*'slurm'"),
        ({"minutes": 0}, r"cluster\.minutes is 0\. Allowed: a whole number from 1"),
        ({"cpus": 1.5}, r"cluster\.cpus is 1\.5"),
        ({"gpus": -1}, r"cluster\.gpus is -1\. Allowed: a whole number from 0"),
        ({"memory_gb": "8"}, r"cluster\.memory_gb is 8"),
    ],
)
def test_resources_that_cannot_be_asked_for(change, message):
    check_cluster(SETTINGS)
    with pytest.raises(InputError, match=message):
        check_cluster(SETTINGS | change)


def test_without_submitit_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'rewire\[cluster\]'"):
        check_cluster(SETTINGS)


def test_a_sweep_through_submitit(tmp_path):
    done = run(
        "train.py", "-m", *SMALL, "sparsity=0.9", "data.source=embedded,folder",
        f"data.root={tmp_path}/absent", f"output={tmp_path}/out",
        "hydra.launcher.engine=submitit", "hydra.launcher.cluster.kind=local",
    )  # fmt: skip
    assert done.returncode == 1
    assert "2 jobs, 1 at a time, by submitit" in done.stdout
    assert "2 jobs (1 done, 1 failed) in " in done.stdout
    (retry,) = (line for line in done.stdout.splitlines() if line.startswith("  retry: python -m"))
    assert " data.source=folder " in retry
    (folder,) = (tmp_path / "out" / "quick" / "train").iterdir()
    assert (folder / "manifest.json").is_file()


def test_submitit_is_not_imported_for_jobs_of_this_machine():
    text = (
        "import sys, rewire.stages.cluster, rewire.stages.launcher;"
        "print('submitit' in sys.modules, 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert answer.stdout.split() == ["False", "False"]
