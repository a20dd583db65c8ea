"""Two starts of one cell at once, in real processes; a killed holder leaves nothing locked."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.small import OWN, ROOT, SMALL, small

from rewire.pipeline.lock import alone
from rewire.thesis import train

# argv: lock file, file to add to, seconds to stay. Two in the block at once would mix their lines.
STAY = """
import sys, time
from pathlib import Path
from rewire.pipeline.lock import alone
with alone(Path(sys.argv[1])):
    for word in ("in", "out"):
        with open(sys.argv[2], "a") as log:
            log.write(word + "\\n")
        time.sleep(float(sys.argv[3]))
"""


def start(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | OWN,
    )


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def test_many_at_once_go_one_after_the_other(tmp_path):
    log = tmp_path / "log"
    runs = [start("-c", STAY, tmp_path / "locks" / "one", log, 0.02) for _ in range(12)]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 12, said
    assert log.read_text() == "in\nout\n" * 12
    assert not list((tmp_path / "locks").iterdir())
    assert {text.count("waiting for another run") for text in said} <= {0, 1}


def test_a_file_system_without_locks_is_said_once(tmp_path, capsys, monkeypatch):
    def refuse(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for name in ("one", "two"):
        with alone(tmp_path / "locks" / name):
            pass
    said = capsys.readouterr().out
    assert said.count("no locks in") == 1
    assert f"'{tmp_path / 'locks'}' (No locks available)" in said


def test_a_killed_holder_locks_nobody_out(tmp_path, capsys):
    lock, log = tmp_path / "one", tmp_path / "log"
    holder = start("-c", STAY, lock, log, 60)
    wait_for(log)
    waiting = start("-c", STAY, lock, log, 0)
    assert waiting.stdout.readline() == "waiting for another run of this cell\n"
    assert log.read_text() == "in\n"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    waiting.communicate(timeout=20)
    assert waiting.returncode == 0
    lock.touch()  # what a killed holder leaves
    with alone(lock):
        pass
    assert capsys.readouterr().out == ""


def test_a_failed_run_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyError), alone(tmp_path / "one"):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_two_starts_of_one_cell_do_its_work_once(tmp_path):
    command = ["-m", "rewire", "thesis", "train", *SMALL, "sparsity=0.9", f"output={tmp_path}"]
    said = [run.communicate()[0] for run in [start(*command), start(*command)]]
    first, second = sorted(said, key=lambda text: "finished already" in text)
    assert f"wrote {tmp_path}" in first
    assert "finished already" not in first
    assert f"wrote {tmp_path}" not in second
    assert "finished already" in second
    (cell,) = (tmp_path / "quick" / "train").iterdir()
    assert (cell / "manifest.json").is_file()
    assert not list((tmp_path / "quick" / "locks").iterdir())


def test_what_a_killed_run_left_half_written_is_gone(tmp_path):
    """DVC hashes whole folders of results: such a file would change its lock file."""
    half_written = tmp_path / "quick/train/natural-s0.9-l2-seed0/.weights.7.tmp.safetensors"
    half_written.parent.mkdir(parents=True)
    half_written.touch()
    train.run(*small(tmp_path, "rewire=l2", "trainer.epochs=1"))
    assert (half_written.parent / "manifest.json").is_file()
    assert not half_written.exists()
