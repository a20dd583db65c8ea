"""The end of a sweep: its table, its speed, and what a second start or a stop leaves of it."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.small import OWN, ROOT, SMALL, composed, run
from omegaconf import open_dict

from rewire.files import write_json, write_text
from rewire.sweep import summary as sweep
from rewire.sweep.launcher import IsolatedLauncher
from rewire.sweep.local import Job, Jobs
from rewire.sweep.slots import Slot
from rewire.sweep.summary import images_trained, last_line, summarise

FULL = Path("/dev/full")
MADE = {"cpu": "CPU", "threads": 1, "gpu": None, "versions": {}, "commit": None}


def cell(base, name: str, *, status: str = "done", steps: int = 10, **more) -> dict:
    """Row and folder of a finished training with batches of 32 images."""
    folder = base / name
    write_json(
        folder / "metrics.json",
        {"steps": steps, "clean": {"correct": 5, "total": 10, "accuracy": 50.0}},
    )
    write_json(folder / "provenance.json", MADE | {"seconds": 3.5})
    write_text(folder / "config.yaml", "trainer: {batch_size: 32}\n")
    row = {"cell": name, "status": status, "error": None, "folder": str(folder), "seconds": 4.0}
    return row | {"overrides": ["rewire=l2", f"seed={name}"]} | more


def test_images_per_second_of_each_training_and_of_all_together(tmp_path, capsys):
    rows = [
        cell(tmp_path, "0"),
        cell(tmp_path, "1", steps=30),
        cell(tmp_path, "2", resumed=True),  # nobody knows how many of its steps were made now
        cell(tmp_path, "3", status="skipped"),
        {"cell": "4", "status": "failed", "error": "no", "seconds": 1.0, "overrides": ["seed=4"]},
    ]
    assert [images_trained(row) for row in rows] == [320, 960, None, None, None]
    summary = summarise(
        rows, stage="train", profile="paper", base=tmp_path, at_a_time=2, seconds=8.0
    )
    summary.write()
    written = json.loads((tmp_path / "train-rewire=l2-seed=0,1,2,3,4.json").read_text())
    assert [row["images/s"] for row in written] == [80.0, 240.0, None, None, None, 160.0]
    assert [row["seconds"] for row in written] == [4.0, 4.0, 4.0, 3.5, 1.0, 8.0]
    total = {"cell": "together, 2 at a time", "status": "total", "accuracy %": None}
    assert written[-1] == total | {"seconds": 8.0, "images/s": 160.0, "error": None}
    table = list(csv.DictReader((tmp_path / "train-rewire=l2-seed=0,1,2,3,4.csv").open()))
    assert table[-1]["images/s"] == "160.0"
    assert "together, 2 at a time" in capsys.readouterr().out
    assert summary.last_line == (
        "5 jobs (3 done, 1 skipped, 1 failed) in 8 s, 2 at a time: 160 training images/s together"
    )


def test_the_last_line_of_a_large_sweep():
    rows = [{"status": "done"}] * 12
    line = last_line(rows, at_a_time=2, seconds=1340.2, together=5310.4)
    assert line == "12 jobs in 1,340 s, 2 at a time: 5,310 training images/s together"


@pytest.mark.parametrize("status", ["failed", "stopped", "duplicate"])
def test_a_sweep_without_a_result_has_no_speed(status, tmp_path, capsys):
    row = {"cell": "a", "status": status, "error": "why", "overrides": ["seed=0"]}
    summarise([row], stage="train", profile="paper", base=tmp_path, at_a_time=1, seconds=1).write()
    assert json.loads((tmp_path / "train-seed=0.json").read_text()) == [
        {"cell": "a", "status": status, "error": "why"}
    ]
    assert "images/s" not in capsys.readouterr().out


def test_stages_that_train_nothing_have_times_only(tmp_path, capsys):
    row = cell(tmp_path, "0")  # its steps are those of an attack
    summary = summarise(
        [row], stage="article_noise", profile="paper", base=tmp_path, at_a_time=1, seconds=6
    )
    assert summary.last_line == "1 jobs in 6 s, 1 at a time"
    assert "images/s" not in capsys.readouterr().out


def test_on_a_full_disk_all_is_told_first_and_then_what_could_not_be_written(
    tmp_path, capsys, monkeypatch
):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def failed(self, jobs):
        return [{"status": "failed", "error": "no reason", "seconds": 1.0} for _ in jobs]

    monkeypatch.setattr(sweep, "write_summary", full)
    monkeypatch.setattr(Jobs, "run", failed)
    launcher = IsolatedLauncher(stage="train", jobs=1)
    chosen = [*SMALL, f"output={tmp_path}"]
    launcher.config = composed(*chosen)
    launcher.loader = SimpleNamespace(load_sweep_config=lambda base, own: composed(*own))
    with pytest.raises(SystemExit) as left:
        launcher.launch([[*chosen, f"rewire={name}"] for name in ("l2", "random")], 0)
    assert left.value.code == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    table = next(n for n, line in enumerate(lines) if line.startswith("natural-s0.99-l2-seed0"))
    total = next(n for n, line in enumerate(lines) if line.startswith("2 jobs (2 failed)"))
    retries = [n for n, line in enumerate(lines) if line.startswith("  retry: rewire thesis")]
    assert table < retries[0] < retries[1] < total == len(lines) - 1
    assert said.err.splitlines() == [
        f"error: cannot write this summary to '{tmp_path}': No space left on device"
    ]


def test_a_log_without_room_does_not_cost_the_job():
    job = Job("[1/1]", [sys.executable, "-c", "print('wrote it'); print('x' * 10**6)"], FULL)
    (row,) = Jobs([Slot()]).run([job])
    assert row["status"] == "done"


def test_jobs_of_one_folder_are_told_apart_before_anything_runs(tmp_path):
    chosen = [*SMALL, f"output={tmp_path}"]
    same, other, changed = (composed(*chosen, f"rewire={name}") for name in ("l2", "random", "l2"))
    with open_dict(changed):
        changed.trainer.epochs = 7  # as an experiment may say without being in the name
    launcher = IsolatedLauncher("train", 1)
    rows = launcher._plan([same, other, same, changed], [["rewire=l2"]] * 4)
    assert ["status" in row for row in rows] == [False, False, True, True]
    assert (rows[2]["status"], rows[2]["error"]) == ("duplicate", "the same as job 1")
    assert rows[3]["status"] == "failed"
    assert "its name is that of job 1" in rows[3]["error"]
    assert rows[0]["cell"] == rows[2]["cell"] == rows[3]["cell"]
    assert not any(row["resumed"] for row in rows)
    checkpoint = tmp_path / "quick" / "checkpoints" / f"train-{rows[1]['cell']}" / "last.ckpt"
    write_text(checkpoint, "")
    assert launcher._plan([other], [[]])[0]["resumed"]


def test_a_stopped_sweep_keeps_what_is_done_and_goes_on_when_started_again(tmp_path):
    arguments = ["train.py", "-m", *SMALL, "sparsity=0.9", f"output={tmp_path}"]
    with subprocess.Popen(
        [sys.executable, *arguments, "trainer.epochs=1,1,100000"],
        cwd=ROOT,
        env=os.environ | OWN,
        text=True,
        stdout=subprocess.PIPE,
    ) as process:
        for line in process.stdout:
            if line.startswith("[3/3]") and ": epoch 2/" in line:
                process.send_signal(signal.SIGTERM)
                break
        shown = process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert "3 jobs (1 done, 1 duplicate, 1 stopped) in " in shown
    assert "1 stopped: the same sweep again does what is missing" in shown
    (summary,) = (tmp_path / "quick" / "sweeps").glob("*.json")
    first, second, third, total = json.loads(summary.read_text())
    states = [row["status"] for row in (first, second, third, total)]
    assert states == ["done", "duplicate", "stopped", "total"]
    assert third["error"] == "SIGTERM"
    trained = [path.name for path in (tmp_path / "quick" / "train").iterdir()]
    assert trained == [first["cell"]]
    # Again, with an end to the second one.
    again = run(*arguments, "trainer.epochs=1,2", "hydra.launcher.jobs=auto")
    assert again.returncode == 0
    assert again.stdout.count("finished already") == 1
    assert "2 jobs (1 skipped, 1 done) in " in again.stdout
    assert "training images/s together" in again.stdout.splitlines()[-1]
