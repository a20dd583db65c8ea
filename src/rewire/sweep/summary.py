"""The end of a sweep: one table over its cells, on the terminal and as files."""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rewire.errors import InputError
from rewire.evaluation.statistics import Accuracy
from rewire.pipeline.document import CONFIG, METRICS
from rewire.pipeline.made import provenance_of
from rewire.record import Record
from rewire.reporting.text_tables import summary_table, write_summary

WHERE_AND_HOW = ("output", "tracking", "force", "profile")  # no part of what was swept
TRAINING = ("train", "article_train")  # stages whose speed is images per second
SPEED = "images/s"
COLUMNS = (
    "cell", "status", "accuracy %", "zero vectors %", "density %", "seconds", SPEED, "error",
)  # fmt: skip


class Zeros(Record):
    percent: float


class Structure(Record):
    zero_vectors: Zeros
    density_percent: float


class Measured(Record):
    """Of the metrics of any stage, what the table shows."""

    clean: Accuracy | None = None
    structure: Structure | None = None
    steps: int = 0


@dataclass(frozen=True)
class Summary:
    """What is left to do when the table is printed.

    Attributes:
        write: writes it as files and returns their paths; can fail on a full disk.
        last_line: to be printed last.
    """

    write: Callable[[], list[Path]]
    last_line: str


def summarise(
    rows: Sequence[dict[str, Any]],
    *,
    stage: str,
    profile: str,
    base: Path,
    at_a_time: int,
    seconds: float,
    shard: str | None = None,
) -> Summary:
    """Print the table of a sweep's cells, in the order in which they were asked for.

    What its jobs did together is the table's last row, of status "total", and the last line.

    Args:
        rows: per job `cell`, `status`, `error`, `overrides` (they name the summary's files), and
            where it ran `folder`, `seconds` and, if that was only a training's end, `resumed`.
        stage: the stage that was swept.
        profile: the scale at which it ran.
        base: folder for summaries.
        at_a_time: jobs that ran side by side.
        seconds: wall-clock time of the whole sweep.
        shard: which part of a sweep this was, for the files' name; None for all of it.
    """
    images = [images_trained(row) if stage in TRAINING else None for row in rows]
    table = [
        row | numbers(row) | ({SPEED: speed(count, row["seconds"])} if count else {})
        for row, count in zip(rows, images, strict=True)
    ]
    together = speed(sum(count for count in images if count), seconds)
    if any(row["status"] == "done" for row in rows):
        total = {"cell": f"together, {at_a_time} at a time", "status": "total"}
        table.append(total | {"seconds": round(seconds, 1), SPEED: together or None})
    columns = [name for name in COLUMNS if any(row.get(name) is not None for row in table)]
    varied = [row["overrides"] for row in rows]
    name = sweep_name(stage, varied if shard is None else [*varied, [f"shard={shard}"]])
    print("\n" + summary_table(table, columns))
    if profile != "paper":
        print(f"{profile} profile: add profile=paper for the documents' full scale")
    return Summary(
        write=functools.partial(write_summary, table, base, name, columns=columns),
        last_line=last_line(rows, at_a_time=at_a_time, seconds=seconds, together=together),
    )


def numbers(row: dict[str, Any]) -> dict[str, float | None]:
    """Accuracy, zero vectors and density of a finished cell, and its own time if it was skipped."""
    if row["status"] not in ("done", "skipped"):
        return {}
    folder = Path(row["folder"])
    found: dict[str, float | None] = {}
    if row["status"] == "skipped":
        provenance = provenance_of(folder)  # None if it came without, e.g. from a DVC remote
        found["seconds"] = provenance.seconds if provenance else None
    try:
        metrics = Measured.read(folder / METRICS)
    except InputError:  # a stage without numbers of its own
        return found
    if metrics.clean:
        found["accuracy %"] = metrics.clean.accuracy
    if metrics.structure:
        found["zero vectors %"] = metrics.structure.zero_vectors.percent
        found["density %"] = metrics.structure.density_percent
    return found


def images_trained(row: dict[str, Any]) -> int | None:
    """Images that a training of this sweep has seen, steps times batch size.

    None if it ran to no end, or not from its beginning: how much of it was done now is not known.
    """
    if row["status"] != "done" or row.get("resumed"):
        return None
    folder = Path(row["folder"])
    settings = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    return Measured.read(folder / METRICS).steps * settings["trainer"]["batch_size"]


def speed(images: int, seconds: float) -> float:
    """Images per second to one decimal."""
    return round(images / max(seconds, 1e-3), 1)


def last_line(
    rows: Sequence[dict[str, Any]], *, at_a_time: int, seconds: float, together: float
) -> str:
    """`12 jobs in 340 s, 2 at a time: 5,310 training images/s together`."""
    counts = Counter(row["status"] for row in rows)
    parts = ", ".join(f"{count} {status}" for status, count in counts.items())
    detail = f" ({parts})" if set(counts) != {"done"} else ""
    text = f"{len(rows)} jobs{detail} in {seconds:,.0f} s, {at_a_time} at a time"
    return text + (f": {together:,.0f} training images/s together" if together else "")


def sweep_name(stage: str, overrides: Sequence[Sequence[str]]) -> str:
    """A name from what varied: `train-rewire=l2,random-sparsity=0.95,0.99`; hashed if long."""
    values: dict[str, list[str]] = {}
    for job in overrides:
        for override in job:
            key, _, value = override.partition("=")
            if key in WHERE_AND_HOW:
                continue
            if value not in values.setdefault(key, []):
                values[key].append(value)
    parts = [f"{key}={','.join(chosen)}" for key, chosen in sorted(values.items())]
    name = re.sub(r"[^A-Za-z0-9_.=,-]+", "_", "-".join([stage, *parts]))
    if len(name) > 120:
        name = f"{stage}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return name
