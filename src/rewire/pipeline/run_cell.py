"""What every stage does around its own work: skip, lock, tracking, outputs, manifest."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from rewire.files import MANIFEST, csv_text, writable_folder, write_json, write_manifest, write_text
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import CONFIG
from rewire.pipeline.documents import document_of
from rewire.pipeline.lock import alone
from rewire.pipeline.made import absent, arguments_of, hashes, made, refused
from rewire.pipeline.partial_results import drop_parts
from rewire.pipeline.provenance import machine, provenance
from rewire.pipeline.worked import begin, forget
from rewire.provenance import PROVENANCE
from rewire.tracking import track

Work = Callable[[Cell[Any]], Iterable[str]]
"""Does the work of a stage in the cell's folder; returns the names of the files written there."""


def run_cell(cell: Cell[Any], work: Work, *, more_inputs: Mapping[str, Path] | None = None) -> None:
    """Do `work` for one cell unless its finished result is there.

    A second start of the same cell waits for the first one, and then finds its result. A result of
    another configuration is not replaced without `force`; one that was made from other inputs
    than those that are there now is.

    Args:
        cell: what to run.
        work: does it.
        more_inputs: files of other cells that are read, by name.

    Raises:
        InputError: for a value that cannot be used; nothing is left half-written.
    """
    cell = replace(cell, inputs=cell.read() | hashes(more_inputs or {}))
    config, folder, decided = cell.config, cell.folder, cell.decided()
    if folder.name != cell.name:
        print(f"'{folder}' has the name of an earlier version; it may be renamed to '{cell.name}'")

    def finished(*, again: bool = False) -> bool:
        return not config.force and is_finished(folder, decided, again=again)

    if finished():
        return
    cell.check_sources()
    code = cell.code
    base = writable_folder(folder).parents[1]
    try:
        with alone(base / "locks" / f"{cell.stage}-{folder.name}"):
            if finished(again=True):
                return
            started = time.perf_counter()
            folder.mkdir(exist_ok=True)  # the run that was waited for may have taken it away
            for leftover in folder.glob(".*.tmp*"):  # of a killed run; DVC would hash it
                leftover.unlink()
            if config.force and not requeued():
                drop_parts(folder)
            here = machine()
            earlier = begin(cell.kept, decided=cell.pieces(), machine=here)
            names = tracked(cell, work)
            write_text(folder / CONFIG, yaml.safe_dump(decided, sort_keys=True))
            made_by = provenance(
                seconds=sum(earlier.values()) + time.perf_counter() - started,
                elsewhere={where: spent for where, spent in earlier.items() if where != here},
                arguments=arguments_of(cell.overrides, cell.plain),
            )
            write_json(folder / PROVENANCE, made_by.as_json())
            write_manifest(folder, config=decided, names=[*names, CONFIG], code=code)
            drop_parts(folder)
    except BaseException:
        forget(cell.kept)
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if it is still empty: nothing was written
        raise
    print(f"wrote {folder}")


def is_finished(folder: Path, decided: Mapping[str, Any], *, again: bool = False) -> bool:
    """Whether the result in `folder` is what would be made now; says so, and what it is if not.

    Args:
        folder: of the result.
        decided: what decides it.
        again: this is the second look, after another run may have been waited for: what is wrong
            with the result was said at the first.

    Raises:
        InputError: for a finished result of another configuration.
    """
    result = made(folder)
    if result is None:
        if (folder / MANIFEST).is_file() and not again:
            state = "incomplete" if absent(folder) else "damaged"
            print(f"{state}: {folder} is made anew", flush=True)
        return False
    if changes := result.changes(decided):
        raise refused(result, changes)
    if others := result.other_inputs(decided["inputs"]):
        if not again:
            print(f"outdated: {folder} was made from another {' and '.join(others)}", flush=True)
        return False
    code = result.other_code()
    by = f", made by {code}" if code else ""
    print(f"finished already: {folder}{by} (force=true runs it again)")
    return True


def requeued() -> bool:
    """Whether Slurm has started this job before: `force` was obeyed then."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") != "0"


def tracked(cell: Cell[Any], work: Work) -> list[str]:
    """Run `work` as one tracked run; returns the names of the files that it wrote."""
    document, tracking = document_of(cell.stage), cell.config.tracking
    with track(
        tracking.mode,
        project=tracking.project,
        folder=tracking.folder,
        system_metrics=tracking.system_metrics,
        group=document.family(cell.plain),
        job_type=cell.stage,
        name=cell.folder.name,
        tags=[cell.config.profile.name, *document.base(cell.plain).split("-")],
        config=cell.decided(),
        unfinished=cell.kept / "tracked_run.json",
    ) as tracker:
        return list(work(replace(cell, tracker=tracker)))


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows with equal keys as CSV text."""
    return csv_text(list(rows[0]), ([row[column] for column in rows[0]] for row in rows))
