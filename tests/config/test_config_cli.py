"""The command line as a user meets it: exit codes, one-line errors, sweeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from helpers.small import OWN, ROOT, SMALL, run


def test_help_shows_the_groups_without_importing_torch():
    result = run("-X", "importtime", "train.py", "--help")
    assert result.returncode == 0
    assert "rewire=dense|gathered|l2|random|static|vector|weighted" in result.stdout
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert not imported & {"torch", "pytorch_lightning", "wandb", "torchvision"}


@pytest.mark.parametrize("arguments", [["--help"], ["thesis", "train", "--help"]])
def test_who_stops_reading_is_no_fault(arguments):
    """As in `rewire --help | head -1`."""
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "rewire", *arguments],
            cwd=ROOT,
            env=os.environ | OWN,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(write)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rewire=wieghted"], ["'wieghted'", "Did you mean 'weighted'", "random, static"]),
        (["objective=trade"], ["'trade'", "Did you mean 'trades'"]),
        (["-m", "rewire=l2,randon"], ["'randon'", "Did you mean 'random'"]),
        (["sparsity=1.5"], ["sparsity is 1.5", "above 0 and below 1"]),
        (["data=folder"], ["cifar-10-batches", "REWIRE_DATA"]),
    ],
)
def test_bad_values_are_one_line_and_exit_code_2(arguments, words, tmp_path):
    result = run(
        "train.py", *arguments, f"output={tmp_path}", "tracking=off",
        env={"REWIRE_DATA": str(tmp_path / "nowhere")},
    )  # fmt: skip
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_sweep_isolates_jobs_and_goes_on_after_a_failure(tmp_path):
    arguments = ["-m", *SMALL, "sparsity=0.9,0.9999", "rewire=random,l2", f"output={tmp_path}"]
    first = run("train.py", *arguments)
    assert first.returncode == 1
    assert first.stdout.count("retry: rewire thesis train") == 2
    (summary,) = (tmp_path / "quick" / "sweeps").glob("*.json")
    rows = json.loads(summary.read_text())
    assert [row["status"] for row in rows] == ["done", "done", "failed", "failed", "total"]
    assert rows[-1]["images/s"] > 0
    assert "p_init connect" in rows[2]["error"]
    for row in rows[:2]:
        metrics = tmp_path / "quick" / "train" / row["cell"] / "metrics.json"
        assert row["accuracy %"] == json.loads(metrics.read_text())["clean"]["accuracy"]
        assert f"[1/4] {row['cell']}" in first.stdout or f"[2/4] {row['cell']}" in first.stdout

    # Alone, job 2 ends in the same bytes as inside the sweep.
    alone = tmp_path / "alone"
    assert run("train.py", *SMALL, "sparsity=0.9", "rewire=l2", f"output={alone}").returncode == 0
    (manifest,) = alone.rglob("manifest.json")
    swept = tmp_path / "quick" / "train" / rows[1]["cell"] / "manifest.json"
    assert manifest.read_bytes() == swept.read_bytes()


@pytest.mark.parametrize("mode", [[], ["-m"]])
def test_an_output_folder_that_cannot_be_written(mode, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = run("train.py", *mode, f"output={tmp_path / 'file' / 'below'}")
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot write to the output folder")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("jobs", ["0", "1.5", "many"])
def test_a_number_of_jobs_that_makes_no_sense(jobs, tmp_path):
    result = run("train.py", "-m", f"hydra.launcher.jobs={jobs}", f"output={tmp_path}")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line == (
        f"error: hydra.launcher.jobs is {jobs}. Allowed: a whole number from 1, or auto."
    )
    assert not list(tmp_path.iterdir())
