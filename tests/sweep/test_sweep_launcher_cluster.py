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
from helpers.small import SMALL, run

from rewire.errors import InputError
from rewire.sweep import slurm_commands as slurm
from rewire.sweep.local import Job
from rewire.sweep.slurm import ClusterJobs, check_cluster, resources
from rewire.sweep.slurm_commands import Queued

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

    cancelled = False

    def __init__(self, folder, number: str) -> None:
        self.job_id = number
        self.paths = SimpleNamespace(submitted_pickle=folder / "absent")


def fake_slurm(monkeypatch, *queues: dict[str, Queued] | None) -> list[dict]:
    """Stand-ins for submitit and Slurm, which answers by these queues, the last one for ever.

    Returns where the resources asked for go; what is cancelled goes to its end.
    """
    asked, numbers, answers = [], iter(range(1, 100)), list(queues)
    folder = {}

    def auto(**settings):
        folder["path"] = settings["folder"]
        return SimpleNamespace(
            update_parameters=lambda **values: asked.append(values),
            batch=contextlib.nullcontext,
            submit=lambda command: Submitted(folder["path"], str(next(numbers))),
        )

    module = SimpleNamespace(AutoExecutor=auto, SlurmJob=Submitted)
    monkeypatch.setitem(sys.modules, "submitit", module)
    monkeypatch.setattr(slurm, "queue", lambda: answers.pop(0) if answers[1:] else answers[0])
    monkeypatch.setattr(slurm, "array_limit", lambda: 10)
    monkeypatch.setattr(slurm, "cancel", lambda ids: asked.append({"cancelled": ids}))
    monkeypatch.setattr("rewire.sweep.slurm.PAUSE", 0.01)
    monkeypatch.setattr("rewire.sweep.slurm.LOOK", 0.0)
    monkeypatch.setattr("rewire.sweep.slurm.GRACE", 0.05)
    return asked


def on_slurm(tmp_path, at_a_time: int) -> ClusterJobs:
    return ClusterJobs(SETTINGS | {"kind": "slurm"}, at_a_time=at_a_time, folder=tmp_path)


def test_slurm_gets_all_jobs_at_once_and_lost_ones_are_failures(tmp_path, monkeypatch, capsys):
    waits, ended = Queued("x", "PENDING", "Priority"), Queued("x", "CANCELLED", "None")
    asked = fake_slurm(monkeypatch, {}, {"1": waits, "2": waits}, None, {"1": ended})
    rows = on_slurm(tmp_path, 1).run([shell(tmp_path, name, "true") for name in ("one", "two")])
    assert [(row["status"], row["error"]) for row in rows] == [
        ("failed", "job 1 ended without a result: CANCELLED"),
        ("failed", "job 2 ended without a result: PENDING"),
    ]
    assert [v["slurm_array_parallelism"] for v in asked if "timeout_min" in v] == [1]
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == [
        "one: submitted as 1",
        "two: submitted as 2",
        "on the cluster: 2 wait (Priority 2)",
        "on the cluster: Slurm does not answer; the jobs are waited for",
    ]


def test_a_job_that_is_queued_again_is_waited_for(tmp_path, monkeypatch):
    states = ["RUNNING", "PREEMPTED", "COMPLETING", "REQUEUED", "PENDING", "RUNNING"]
    fake_slurm(monkeypatch, {}, *[{"1": Queued("x", state, "None")} for state in states])
    runner = on_slurm(tmp_path, 1)
    seen = []

    def look():
        ClusterJobs._look(runner)
        seen.append(runner._submitted[0].state)
        if len(seen) == len(states):
            runner._submitted[0].command.end.write_text('{"status": "done", "error": null}')

    monkeypatch.setattr(runner, "_look", look)
    (row,) = runner.run([shell(tmp_path, "one", "true")])
    assert row["status"] == "done"
    assert seen == states


def test_cancelled_jobs_that_nobody_accounts_for_are_not_waited_for(tmp_path, monkeypatch):
    asked = fake_slurm(monkeypatch, {}, {n: Queued("x", "RUNNING", "None") for n in "12"})
    monkeypatch.setattr("rewire.sweep.slurm.PATIENCE", 0.1)
    runner = on_slurm(tmp_path, 2)
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start()
    rows = runner.run([shell(tmp_path, name, "true") for name in ("one", "two")])
    assert [row["status"] for row in rows] == ["stopped", "stopped"]
    assert [row["error"] for row in rows] == ["SIGTERM", "SIGTERM"]
    assert {"cancelled": ["1", "2"]} in asked


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


def test_what_a_job_asks_for():
    more = {"account": "lab", "qos": "long"}
    asked = resources(
        SETTINGS | {"partition": "gpu", "gpus": 1, "memory_gb": 8, "more": more}, at_a_time=4
    )
    assert asked == {
        "timeout_min": 5,
        "cpus_per_task": 1,
        "gpus_per_node": 1,
        "mem_gb": 8,
        "slurm_partition": "gpu",
        "slurm_array_parallelism": 4,
        "slurm_additional_parameters": {"requeue": True} | more,
    }
    assert "slurm_partition" not in resources(SETTINGS, at_a_time=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "slrum"}, r"unknown hydra\.launcher\.cluster\.kind 'slrum'.*'slurm'"),
        ({"minutes": 2}, r"cluster\.minutes is 2\. Allowed: a whole number from 3"),
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


def test_without_slurm_that_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"there is no sbatch here"):
        check_cluster(SETTINGS | {"kind": "slurm"})


def test_what_sbatch_says_is_one_line():
    said = """sbatch: error: invalid partition specified: x
sbatch: error: Batch job submission failed: Invalid partition name specified
Try "sbatch --help" for more information
"""
    assert slurm.refusal(said) == (
        "invalid partition specified: x; Batch job submission failed: Invalid partition name "
        "specified"
    )


def test_a_sweep_through_submitit(tmp_path):
    done = run(
        "train.py", "-m", *SMALL, "sparsity=0.9", "data.source=embedded,folder",
        f"data.root={tmp_path}/absent", f"output={tmp_path}/out",
        "hydra.launcher.engine=submitit", "hydra.launcher.cluster.kind=local",
    )  # fmt: skip
    assert done.returncode == 1
    assert "2 jobs, 2 at a time, by submitit" in done.stdout
    assert "2 jobs (1 done, 1 failed) in " in done.stdout
    (retry,) = (line for line in done.stdout.splitlines() if line.startswith("  retry: rewire"))
    assert " -m " in retry.removeprefix("  retry: rewire")
    assert " data.source=folder " in retry
    assert retry.endswith("hydra.launcher.engine=submitit hydra.launcher.cluster.kind=local")
    (folder,) = (tmp_path / "out" / "quick" / "train").iterdir()
    assert (folder / "manifest.json").is_file()


def test_submitit_is_not_imported_for_jobs_of_this_machine():
    text = (
        "import sys, rewire.sweep.slurm, rewire.sweep.launcher;"
        "print('submitit' in sys.modules, 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert answer.stdout.split() == ["False", "False"]
