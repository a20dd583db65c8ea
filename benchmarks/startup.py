"""What passes before a stage works: interpreter, imports, configuration, checks.

"until work": from the command to the point where the stage would begin its work, and back; the work
itself is left out (`benchmarks.idle`), the marking of the cell as finished is not. "finished":
the command on a finished cell, which prints that there is nothing to do. The stages that make
tables have no cell: theirs is the whole command where no result is. "smallest training": the whole
command with 64 images and an epoch or two steps, hence with all that is imported only for the work.
All in processes of their own, in turns, beside `import torch` alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.cells import run_python, run_stage
from benchmarks.harness import Row, judged, measure
from rewire.files import MANIFEST, writable_folder
from rewire.pipeline.commands import words_of
from rewire.pipeline.documents import DOCUMENTS
from rewire.pipeline.names import cell_folder
from rewire.registry import HEADS

DEVICES = ("cpu",)
STAGES = [stage for document in DOCUMENTS for stage in document.stages]
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {"stages": STAGES, "trainings": True, "rounds": 5},
    "quick": {"stages": ["train"], "trainings": False, "rounds": 1},
}
TABLES = ("tables", "article_tables")
NETWORK = {"article_decoupled": ["network=cnn"]}  # a stage for networks with convolutions
SMALLEST = {
    "train": ["model.width=0.1", "trainer.epochs=1"],
    "article_train": ["network.width=0.1", "trainer.phases=[[1e-3,2]]", "trainer.batch_size=20"],
}
TINY_DATA = ["data.train_size=64", "data.test_size=20", "data.validation_size=10"]
SECONDS = 3  # target, at most


def run(
    *, device: torch.device, cache: Path, stages: list[str], trainings: bool, rounds: int
) -> list[Row]:
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix="startup-") as folder:
        output = Path(folder)
        mark_noise(output)
        tasks = {("import torch", "python -c"): lambda: run_python("-c", "import torch")}
        for stage in stages:
            command = (stage, *NETWORK.get(stage, ()))
            if stage in TABLES:
                tasks[stage, "nothing to show"] = lambda c=command: run_stage(*c, output=output)
                continue
            where = (f"output={output}", "tracking=off")
            idle = ("-m", "benchmarks.idle", *words_of(stage), *command[1:], *where)
            tasks[stage, "until work"] = lambda idle=idle: run_python(*idle, "force=true")
            tasks[stage, "finished"] = lambda c=command: finished(*c, output=output)
            if trainings and stage in SMALLEST:
                smallest = (stage, *SMALLEST[stage], *TINY_DATA, "force=true")
                tasks[stage, "smallest training"] = lambda c=smallest: run_stage(*c, output=output)
        timings = measure(tasks, rounds=rounds, device=device)
    rows = []
    for (stage, what), timing in timings.items():
        row = {"stage": stage, "what": what}
        bound = {} if what in ("python -c", "smallest training") else {"at_most": SECONDS}
        row |= judged("seconds", timing.median, **bound)
        rows.append(row | {"iqr s": timing.high - timing.low})
    return rows


def mark_noise(output: Path) -> None:
    """What `article_transfer` looks for before it starts: the manifests of other cells' noise."""
    for head in HEADS:
        cell = f"ann-{head}-seed0"
        folder = cell_folder(output, profile="quick", stage="article_noise", cell=cell)
        writable_folder(folder).joinpath(MANIFEST).touch()


def finished(*command: str, output: Path) -> None:
    said = run_stage(*command, output=output)
    assert "finished already" in said, said
