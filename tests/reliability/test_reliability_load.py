"""Many trainings at once: none lost, none mixed, each the same as alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.small import ROOT, run

from rewire.files import MANIFEST, sha256

SPARSITIES, SEEDS = ("0.9", "0.95"), 100
AT_ONCE, SAME = 50, 5
TINY = (
    "model.width=0.1",
    "data.train_size=64",
    "data.test_size=20",
    "data.validation_size=10",
    "trainer.epochs=1",
    "tracking=off",
)
RESULTS = ("weights.safetensors", "metrics.json", "history.csv")

pytestmark = pytest.mark.reliability


def contents(folder: Path) -> list[str]:
    return [sha256(folder / name) for name in RESULTS]


def alone(output: Path, sparsity: str, seed: int) -> list[str]:
    """Results of one cell whose training had the machine for itself."""
    done = run("train.py", *TINY, f"sparsity={sparsity}", f"seed={seed}", f"output={output}")
    assert done.returncode == 0, done.stderr
    (cell,) = (output / "quick" / "train").glob(f"*-s{sparsity}-*-seed{seed}-*")
    return contents(cell)


def check_cells(output: Path, expected: set[tuple[str, int]], sample: list[tuple[str, int]]):
    """Exactly these cells are there, each with its own whole result, a sample as if alone."""
    cells = {}
    for folder in (output / "quick" / "train").iterdir():
        settings = yaml.safe_load((folder / "config.yaml").read_text())
        key = (str(settings["sparsity"]), settings["seed"])
        assert folder.name.startswith(f"natural-s{key[0]}-random-seed{key[1]}-")
        manifest = json.loads((folder / MANIFEST).read_text())
        assert set(RESULTS) <= set(manifest["files"])
        for name, digest in manifest["files"].items():
            assert sha256(folder / name) == digest
        assert {path.name for path in folder.iterdir()} == {
            *manifest["files"], MANIFEST, "provenance.json",
        }  # fmt: skip
        cells[key] = contents(folder)
    assert set(cells) == expected
    assert len({weights for weights, *_ in cells.values()}) == len(cells)
    for key in sample:
        assert cells[key] == alone(output.parent / "alone", *key)


def test_a_sweep_of_200_trainings_loses_and_mixes_nothing(tmp_path):
    sweep = [
        "train.py", "-m", *TINY, f"sparsity={','.join(SPARSITIES)}", f"seed=range({SEEDS})",
        f"output={tmp_path / 'sweep'}", "hydra.launcher.jobs=auto",
    ]  # fmt: skip
    count = len(SPARSITIES) * SEEDS
    first = run(*sweep)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"{count} jobs in " in first.stdout.splitlines()[-1]
    (summary,) = (tmp_path / "sweep" / "quick" / "sweeps").glob("train-*.json")
    rows = json.loads(summary.read_text())
    assert [row["status"] for row in rows] == ["done"] * count + ["total"]
    assert len({row["cell"] for row in rows[:-1]}) == count
    logs = list((tmp_path / "sweep" / "quick" / "logs" / "train").glob("*.log"))
    assert len(logs) == count
    assert all(log.read_text().count("\nwrote ") == 1 for log in logs)
    expected = {(sparsity, seed) for sparsity in SPARSITIES for seed in range(SEEDS)}
    check_cells(tmp_path / "sweep", expected, [("0.9", 0), ("0.95", SEEDS - 1)])
    # Started again there is nothing to do, and no process is started to find out.
    again = run(*sweep)
    assert again.returncode == 0
    assert f"{count} jobs ({count} skipped) in " in again.stdout.splitlines()[-1]
    assert ": started" not in again.stdout


# Copies of one process that has imported everything: they begin in the same moment, not spread
# over the time that imports take.
STARTS = """
import json, multiprocessing, os, sys
from helpers.small import composed
from rewire.thesis import train
import rewire.training.runner

def begin(barrier, overrides, path):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), 1)
    own = composed(*overrides)
    barrier.wait()
    train.run(own, overrides)

context = multiprocessing.get_context("fork")
jobs = json.loads(sys.argv[1])
barrier = context.Barrier(len(jobs))
started = [
    context.Process(target=begin, args=(barrier, job, f"{sys.argv[2]}/{i}.out"))
    for i, job in enumerate(jobs)
]
for process in started:
    process.start()
for process in started:
    process.join()
print([process.exitcode for process in started])
"""


def test_starts_in_the_same_moment_lose_and_mix_nothing(tmp_path):
    output, said = tmp_path / "starts", tmp_path / "said"
    said.mkdir()
    seeds = [*range(AT_ONCE), *[AT_ONCE] * SAME]
    jobs = [[*TINY, "sparsity=0.9", f"seed={seed}", f"output={output}"] for seed in seeds]
    done = subprocess.run(
        [sys.executable, "-c", STARTS, json.dumps(jobs), str(said)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]),
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.stdout.strip() == str([0] * len(jobs)), done.stderr
    texts = [(said / f"{i}.out").read_text() for i in range(len(jobs))]
    assert all("wrote " in text for text in texts[:AT_ONCE])
    # Of the same cell one start trains; the others wait for it and find its result.
    assert sum("wrote " in text for text in texts[AT_ONCE:]) == 1
    assert sum("finished already: " in text for text in texts[AT_ONCE:]) == SAME - 1
    expected = {("0.9", seed) for seed in seeds}
    check_cells(output, expected, [("0.9", 0), ("0.9", AT_ONCE)])
