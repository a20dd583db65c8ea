"""Jobs side by side: nothing lost or mixed, failures recorded, stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from rewire import progress
from rewire.sweep.local import Job, Jobs, environment, last_words
from rewire.sweep.slots import Slot

WAIT = 30.0  # seconds, far more than anything here takes


END = ("echo wrote it", "echo so it ends; exit 1")


def shell(tmp_path, name: str, text: str) -> Job:
    return Job(name, ("sh", "-c", text), tmp_path / f"{name}.log")


def test_fifty_jobs_at_once_lose_and_mix_nothing(tmp_path, capsys):
    jobs = [
        shell(tmp_path, f"job{i}", f"for k in 1 2 3 4 5; do echo line {i} $k; done; {END[i % 2]}")
        for i in range(50)
    ]
    rows = Jobs([Slot()] * 50).run(jobs)
    assert [row["status"] for row in rows] == ["done", "failed"] * 25
    shown = capsys.readouterr().out.splitlines()
    for i, job in enumerate(jobs):
        expected = [f"line {i} {k}" for k in range(1, 6)] + ["so it ends" if i % 2 else "wrote it"]
        assert job.log.read_text().splitlines() == expected
        own = [line for line in shown if line.startswith(f"{job.label}: ")]
        told = ["started", *expected, rows[i]["status"]]
        assert own == [f"{job.label}: {line}" for line in told]
        assert rows[i]["error"] == ("so it ends" if i % 2 else None)
    assert len(shown) == 50 * 8


def test_after_every_job_the_time_that_is_left_is_told(tmp_path, monkeypatch, capsys):
    clock = iter(range(0, 100_000, 120))  # asked once at the start, and once per job
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    texts = ["echo wrote it", "exit 3", "echo wrote it"]
    jobs = [shell(tmp_path, f"[{n}/3] job", text) for n, text in enumerate(texts, start=1)]
    Jobs([Slot()]).run(jobs)
    shown = capsys.readouterr().out.splitlines()
    assert "[1/3] job: done, about 4 minutes left" in shown
    assert "[2/3] job: failed, about 2 minutes left" in shown
    assert shown[-1] == "[3/3] job: done"


def test_what_becomes_of_a_job(tmp_path):
    (tmp_path / "file").write_text("in the way")
    expected = {
        shell(tmp_path, "done", "printf '\\377 no UTF-8\\n'; echo wrote it"): ("done", None),
        shell(tmp_path, "there", "echo finished already: here"): ("skipped", None),
        shell(tmp_path, "bad", "echo error: no; echo later; exit 2"): ("failed", "no"),
        shell(tmp_path, "killed", "kill -9 $$"): ("failed", "ended by SIGKILL"),
        # Lightning leaves with 0 when somebody else ends it.
        shell(tmp_path, "left", "echo epoch 1"): ("failed", "it ended without a result"),
        shell(tmp_path, "late", "echo wrote it; exit 3"): ("failed", "wrote it"),
        shell(tmp_path, "asks", "read answer || echo wrote nothing"): ("done", None),
    }
    rows = Jobs([Slot()]).run(list(expected))
    assert [(row["status"], row["error"]) for row in rows] == list(expected.values())
    assert all(row["seconds"] >= 0 for row in rows)
    no_program = Job("no program", (str(tmp_path / "absent"),), tmp_path / "absent.log")
    no_log = Job("no log", ("true",), tmp_path / "file" / "log")
    rows = Jobs([Slot()] * 2).run([no_program, no_log])
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert "No such file" in rows[0]["error"]
    assert str(tmp_path / "file") in rows[1]["error"]


def test_last_words_of_a_defect_are_its_exception():
    lines = ["Traceback (most recent call last):", "RuntimeError: no", "", "Set HYDRA_FULL_ERROR=1"]
    assert last_words(lines, 1) == "RuntimeError: no"
    assert last_words([], 3) == "exit code 3"


def test_at_most_one_job_per_slot_and_all_slots_are_used(tmp_path):
    # Each job waits until it has seen another one, which ends only if two run side by side.
    meet = "touch {0}; while [ ! -e {1} ]; do sleep 0.01; done; echo wrote it"
    a, b = tmp_path / "a", tmp_path / "b"
    pair = [
        shell(tmp_path, "one", meet.format(a, b)),
        shell(tmp_path, "two", meet.format(b, a)),
    ]
    assert [row["status"] for row in Jobs([Slot()] * 2).run(pair)] == ["done", "done"]
    lock = tmp_path / "lock"
    alone = [
        shell(tmp_path, f"{i}", f"mkdir {lock} && rmdir {lock} && echo wrote it") for i in range(20)
    ]
    assert {row["status"] for row in Jobs([Slot()]).run(alone)} == {"done"}


def test_jobs_are_kept_on_the_cores_of_their_slot(tmp_path):
    allowed = getattr(os, "sched_getaffinity", lambda pid: set())  # Linux has it
    before = allowed(0)
    core = max(before, default=0)
    text = """import os
cores = getattr(os, "sched_getaffinity", lambda pid: ())(0)
print("wrote", *cores, os.environ["OMP_NUM_THREADS"])"""
    job = Job("pinned", [sys.executable, "-c", text], tmp_path / "pinned.log")
    Jobs([Slot(1, (core,))]).run([job])
    assert job.log.read_text().split() == ["wrote", *([str(core)] if before else []), "1"]
    assert allowed(0) == before
    gone = Jobs([Slot(1, (100_000,))]).run([job])
    assert gone[0]["status"] == "done"


def test_the_environment_of_a_job():
    base = {"A": "b", "CUDA_VISIBLE_DEVICES": "0,1"}
    assert environment(Slot(), base) == base | {"PYTHONUNBUFFERED": "1"}
    env = environment(Slot(4, (), "1"), base | {"OMP_NUM_THREADS": "16", "MKL_NUM_THREADS": "2"})
    assert (env["OMP_NUM_THREADS"], env["MKL_NUM_THREADS"]) == ("4", "2")
    assert env["CUDA_VISIBLE_DEVICES"] == "1"
    for nonsense in ("0", "4,2", "", "x"):
        assert environment(Slot(3), {"OMP_NUM_THREADS": nonsense})["OMP_NUM_THREADS"] == "3"


STOPPED = """
import sys
from pathlib import Path
from rewire.sweep import local as jobs
from rewire.sweep.slots import Slot
jobs.PATIENCE = float(sys.argv[2])
folder = Path(sys.argv[1])
texts = ["echo wrote it", *sys.argv[3:], "echo never"]
runner = jobs.Jobs([jobs.Slot()] * 2)
rows = runner.run([
    jobs.Job(str(i), ["sh", "-c", text], folder / f"{i}.log") for i, text in enumerate(texts)
])
print([row["status"] for row in rows], [row["error"] for row in rows], runner.stopped)
"""


def stopped(tmp_path, texts, *numbers, patience=WAIT) -> str:
    """Last line of a process whose two jobs run when it gets these signals."""
    # A test run in the background ignores Ctrl+C, one under nohup SIGHUP; its children would, too.
    numbered = (signal.SIGINT, signal.SIGHUP)
    before = {n: signal.signal(n, signal.SIG_DFL) for n in numbered}
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", STOPPED, str(tmp_path), str(patience), *texts],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    with process:
        ready = 0
        for line in process.stdout:
            ready += "ready" in line
            if ready == 2:
                break
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.2)
        out, _ = process.communicate(timeout=WAIT)
    assert process.returncode == 0
    return out.splitlines()[-1]


def pids(tmp_path) -> list[int]:
    return [int((tmp_path / f"{i}.log").read_text().split()[1]) for i in (1, 2)]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_what_runs_and_starts_nothing_more(number, tmp_path):
    # The second job has a child that would hold its output open for longer than we wait.
    texts = ["echo ready $$; exec sleep 60", "sleep 60 & echo ready $$; wait"]
    line = stopped(tmp_path, texts, number)
    states = ["done", "stopped", "stopped", "stopped"]
    errors = [None, number.name, number.name, "not started"]
    assert line == f"{states} {errors} {int(number)}"
    assert not (tmp_path / "3.log").exists()
    assert not any(alive(pid) for pid in pids(tmp_path))


@pytest.mark.parametrize(
    ("numbers", "patience"),
    [((signal.SIGTERM,), 0.3), ((signal.SIGTERM, signal.SIGTERM), WAIT)],
)
def test_a_process_that_does_not_end_is_ended(numbers, patience, tmp_path):
    deaf = "trap '' TERM; echo ready $$; while :; do sleep 0.05; done"
    line = stopped(tmp_path, [deaf, deaf], *numbers, patience=patience)
    assert line.endswith("'SIGTERM', 'SIGTERM', 'not started'] 15")
    assert not any(alive(pid) for pid in pids(tmp_path))


def test_only_a_job_with_a_result_is_done_when_it_was_asked_to_stop(tmp_path):
    polite = "trap 'echo wrote it; exit 0' TERM; echo ready $$; while :; do sleep 0.05; done"
    silent = polite.replace("echo wrote it; ", "")
    line = stopped(tmp_path, [polite, silent], signal.SIGTERM)
    assert line.startswith("['done', 'done', 'stopped', 'stopped']")
