"""The end of a sweep: one table over its cells, on the terminal and as files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewire.errors import InputError
from rewire.files import read_json
from rewire.reporting.summary import summary_table, write_summary

WHERE_AND_HOW = ("output", "tracking", "force", "profile")  # no part of what was swept
COLUMNS = ("cell", "status", "accuracy %", "zero vectors %", "density %", "seconds", "error")


def summarise(
    rows: Sequence[dict[str, Any]],
    overrides: Sequence[Sequence[str]],
    *,
    stage: str,
    profile: str,
    base: Path,
) -> None:
    """Print and write the table of a sweep's cells, in the order in which they were asked for.

    Args:
        rows: per job `cell`, `status`, `error`, and where it ran `folder` and `seconds`.
        overrides: per job its overrides; they name the summary's files.
        stage: the stage that was swept.
        profile: the scale at which it ran.
        base: folder for summaries.
    """
    table = [row | numbers(row) for row in rows]
    columns = [name for name in COLUMNS if any(row.get(name) is not None for row in table)]
    paths = write_summary(table, base, sweep_name(stage, overrides), columns=columns)
    print("\n" + summary_table(table, columns))
    print(f"wrote {paths[0]}")
    if profile != "paper":
        print(f"{profile} profile: add profile=paper for the documents' full scale")


def numbers(row: dict[str, Any]) -> dict[str, float]:
    """Accuracy, zero vectors and density of a finished cell, and its own time if it was skipped."""
    if row["status"] == "failed":
        return {}
    folder = Path(row["folder"])
    found: dict[str, float] = {}
    if row["status"] == "skipped":
        try:
            found["seconds"] = read_json(folder / "provenance.json")["seconds"]
        except InputError:
            found["seconds"] = None  # a cell that came without it, e.g. from a DVC remote
    metrics = read_json(folder / "metrics.json")
    if "clean" in metrics:
        found["accuracy %"] = metrics["clean"]["accuracy"]
    if "structure" in metrics:
        overall = metrics["structure"]
        found["zero vectors %"] = overall["zero_vectors"]["percent"]
        found["density %"] = overall["density_percent"]
    return found


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
