"""Equal trainings one at a time and several at a time, as a sweep runs them.

`rewire thesis train -m seed=... hydra.launcher.jobs=k`: images per second over all
trainings, from the command to its end, start-up included.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.cells import run_stage
from benchmarks.harness import Row, judged, measure
from rewire.files import read_json

DEVICES = ("cpu", "cuda")
TINY = [
    "trainer.epochs=1",
    "model.width=0.1",
    "sparsity=0.9",
    "data.train_size=64",
    "data.test_size=20",
    "data.validation_size=10",
]
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {
        "trainings": {"cpu": 4, "cuda": 9},
        "jobs": {"cpu": [1, 2], "cuda": [1, 3, 9]},
        "batch_size": {"cpu": 32, "cuda": 128},
        "overrides": {
            "cpu": ["trainer.epochs=2"],  # of the quick profile
            "cuda": ["trainer.epochs=10", "model.width=1", "trainer.precision=auto"],
        },
        "rounds": 2,
    },
    "quick": {
        "trainings": {"cpu": 2, "cuda": 2},
        "jobs": {"cpu": [1, 2], "cuda": [1, 2]},
        "batch_size": {"cpu": 32, "cuda": 32},
        "overrides": {"cpu": TINY, "cuda": TINY},
        "rounds": 1,
    },
}


def run(
    *,
    device: torch.device,
    cache: Path,
    trainings: dict[str, int],
    jobs: dict[str, list[int]],
    batch_size: dict[str, int],
    overrides: dict[str, list[str]],
    rounds: int,
) -> list[Row]:
    kind = device.type
    seeds = "seed=" + ",".join(map(str, range(trainings[kind])))
    chosen = [
        seeds,
        f"trainer.device={kind}",
        f"trainer.batch_size={batch_size[kind]}",
        *overrides[kind],
    ]
    images: dict[int, set[int]] = {}

    def sweep(at_a_time: int) -> None:
        with tempfile.TemporaryDirectory(dir=cache.parent, prefix="sweep-") as folder:
            output = Path(folder)
            run_stage("train", "-m", *chosen, f"hydra.launcher.jobs={at_a_time}", output=output)
            metrics = [read_json(path) for path in output.glob("quick/train/*/metrics.json")]
        assert len(metrics) == trainings[kind]
        images.setdefault(at_a_time, set()).add(batch_size[kind] * sum(m["steps"] for m in metrics))

    tasks = {n: lambda n=n: sweep(n) for n in jobs[kind]}
    timings = measure(tasks, rounds=rounds, device=device)
    equal = len(set.union(*images.values())) == 1
    rows = []
    for at_a_time, timing in timings.items():
        (count,) = images[at_a_time]
        row: Row = {
            "trainings": trainings[kind],
            "at a time": at_a_time,
            "seconds": timing.median,
            "iqr s": timing.high - timing.low,
            "images": count,
            "images/s": count / timing.median,
        }
        if at_a_time != 1:
            row |= judged("times one at a time", timings[1].median / timing.median)
            row["equal work"] = equal
        rows.append(row)
    return rows
