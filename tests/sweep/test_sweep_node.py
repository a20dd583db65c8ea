"""A job on a node: what it leaves behind when it ends, is ended, or is out of time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rewire.files import read_json
from rewire.sweep.local import Job
from rewire.sweep.node import Command, footprint

ALONE = """
import sys
from pathlib import Path
from rewire.sweep.local import Job
from rewire.sweep.node import Command
folder = Path(sys.argv[1])
job = Job("job", ("sh", "-c", sys.argv[2]), folder / "log", folder / "state")
Command(job, cpus=1, minutes=5, name="rewire-0", end=folder / "end.json")()
"""


def start(tmp_path, text: str, **more: str) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | more
    return subprocess.Popen([sys.executable, "-c", ALONE, str(tmp_path), text], env=env)


@pytest.mark.parametrize(
    ("text", "code", "status"),
    [("echo wrote it", 0, "done"), ("echo error: no; exit 2", 2, "failed"),
     ("true", 1, "failed"), ("kill -9 $$", 1, "failed")],
)  # fmt: skip
def test_the_exit_code_says_whether_there_is_a_result(tmp_path, text, code, status):
    assert start(tmp_path, text).wait(60) == code
    assert read_json(tmp_path / "end.json")["status"] == status


@pytest.mark.parametrize(("starts", "status"), [("0", "skipped"), ("1", "done")])
def test_what_an_earlier_start_finished_is_done(tmp_path, starts, status):
    """Slurm may end a job when its result is there but its process is not yet over."""
    process = start(tmp_path, "echo finished already: it", SLURM_RESTART_COUNT=starts)
    assert process.wait(60) == 0
    assert read_json(tmp_path / "end.json")["status"] == status


def test_what_slurm_ends_has_no_end_written_and_leaves_no_process(tmp_path):
    process = start(tmp_path, f"sleep 600 & echo $! > {tmp_path}/new; mv {tmp_path}/new "
                              f"{tmp_path}/pid; wait")  # fmt: skip
    while not (tmp_path / "pid").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not (tmp_path / "end.json").exists()
    sleeping = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    for _ in range(100):
        if not sleeping.exists() or ") Z " in sleeping.read_text():
            break
        time.sleep(0.05)
    else:
        raise AssertionError("it goes on")


def test_the_warning_of_the_time_limit_is_not_for_what_a_job_starts(tmp_path):
    assert start(tmp_path, "kill -USR2 $$; echo wrote it").wait(60) == 0


def test_the_log_of_an_earlier_start_stays(tmp_path):
    for number in (1, 2):
        assert start(tmp_path, f"echo wrote {number}").wait(60) == 0
    first, between, second = (tmp_path / "log").read_text().splitlines()
    assert (first, second) == ("wrote 1", "wrote 2")
    assert between.startswith("-- started again, ")


def out_of_time(tmp_path, minutes: float) -> Command:
    """A command that has run for so long, of 5 minutes."""
    job = Job("job", ("true",), tmp_path / "log", tmp_path / "state")
    command = Command(job, cpus=1, minutes=5, name="rewire-0", end=tmp_path / "end.json")
    command._before = footprint(job.state)
    command._started = time.monotonic() - 60 * minutes
    return command


def test_out_of_time_only_what_has_advanced_goes_on(tmp_path):
    pytest.importorskip("submitit")
    before = signal.getsignal(signal.SIGTERM)
    try:
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "last.ckpt").write_text("epoch 1")
        stuck = out_of_time(tmp_path, 4)
        assert stuck.checkpoint() is None
        assert "minutes=5" in read_json(tmp_path / "end.json")["error"]
        advanced = out_of_time(tmp_path, 4)
        (tmp_path / "state" / "last.ckpt").write_text("epoch 2: advanced")
        again = advanced.checkpoint().function
        # The same command, as often as it takes, and the time of all its starts.
        assert again.spent == pytest.approx(60 * 4, abs=5)
        assert again == replace(advanced, spent=again.spent)
        # One that only has to make room need not have advanced.
        assert out_of_time(tmp_path, 1).checkpoint() is not None
    finally:
        signal.signal(signal.SIGTERM, before)
