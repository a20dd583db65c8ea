"""What every stage does around its own work: cell, skip, tracking, outputs, manifest."""

from __future__ import annotations

import contextlib
import csv
import io
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from rewire.data.images import ImageSet
from rewire.data.load import load_data
from rewire.engine.library import instruction_set
from rewire.files import (
    is_finished,
    sha256,
    writable_folder,
    write_json,
    write_manifest,
    write_text,
)
from rewire.provenance import provenance
from rewire.stages.cells import SELECTIONS, WEIGHTS, cell_folder, cell_of, document_of
from rewire.stages.lock import alone
from rewire.stages.parts import drop_parts
from rewire.tracking import Tracker, track

METRICS, HISTORY = "metrics.json", "history.csv"
MODEL_SPEC = ("name", "width", "classes", "image_size")
VARIANTS = {"trained": "train", "pruned": "prune"}  # variant of a network → stage that made it

# (configuration, folder of the cell, tracker) → names of the files written into the folder
Work = Callable[[dict[str, Any], Path, Tracker], Iterable[str]]


def deciding(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The part of a resolved configuration that decides the result of `stage`; no paths."""
    keys = [*document_of(stage).stages[stage].groups, "sparsity", "seed"]
    chosen = {key: config[key] for key in keys if key in config}
    chosen["data"] = {key: value for key, value in chosen["data"].items() if key != "root"}
    return chosen


def load_images(config: Mapping[str, Any]) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Training, validation and test images of a configuration, as they are."""
    options = {key: value for key, value in config["data"].items() if key != "augmentation"}
    return load_data(**options)


def sibling(config: Mapping[str, Any], overrides: Iterable[str], stage: str) -> Path:
    """Folder in which an earlier stage left its result for the same cell."""
    cell = cell_of(config, stage=stage, overrides=overrides)
    return cell_folder(config["output"], profile=config["profile"]["name"], stage=stage, cell=cell)


def inputs_of(
    stage: str, config: Mapping[str, Any], overrides: Iterable[str]
) -> dict[str, str | None]:
    """Hashes of the files that a stage reads: a re-trained network makes its result stale."""
    inputs = dict(document_of(stage).stages[stage].inputs)
    if "train" in inputs:
        inputs["train"] = SELECTIONS[config["selection"]]
    return hashes({s: sibling(config, overrides, s) / name for s, name in inputs.items()})


def networks(config: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Path]:
    """Variant → file of the network: of the configured epoch of the training, and pruned."""
    names = {"trained": SELECTIONS[config["selection"]], "pruned": WEIGHTS}
    return {v: sibling(config, overrides, stage) / names[v] for v, stage in VARIANTS.items()}


def hashes(paths: Mapping[str, Path]) -> dict[str, str | None]:
    """SHA-256 of every file, None for a missing one."""
    return {name: sha256(path) if path.is_file() else None for name, path in paths.items()}


def run_cell(
    stage: str,
    config: DictConfig,
    overrides: list[str],
    work: Work,
    *,
    more_inputs: Mapping[str, Path] | None = None,
) -> None:
    """Do `work` for one cell unless its finished result is there.

    A second start of the same cell waits for the first one, and then finds its result.

    Args:
        stage, config, overrides: what to run.
        work: does it; see `Work`. Its configuration has the hashes of the inputs as `inputs`.
        more_inputs: files of other cells that are read, by name.

    Raises:
        InputError: for a value that cannot be used; nothing is left half-written.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    folder = sibling(plain, overrides, stage)
    inputs = inputs_of(stage, plain, overrides) | hashes(more_inputs or {})
    plain["inputs"] = inputs
    decided = deciding(plain, stage) | {"inputs": inputs}

    def finished() -> bool:
        there = not plain["force"] and is_finished(folder, config=decided)
        if there:
            print(f"finished already: {folder} (force=true runs it again)")
        return there

    if finished():
        return
    base = writable_folder(folder).parents[1]
    try:
        with alone(base / "locks" / f"{stage}-{folder.name}"):
            if finished():
                return
            started = time.perf_counter()
            folder.mkdir(exist_ok=True)  # the run that was waited for may have taken it away
            for leftover in folder.glob(".*.tmp*"):  # of a killed run; DVC would hash it
                leftover.unlink()
            names = tracked(stage, plain, decided, folder, work)
            write_text(folder / "config.yaml", yaml.safe_dump(decided, sort_keys=True))
            seconds = time.perf_counter() - started
            write_json(
                folder / "provenance.json", provenance(seconds=seconds, engine=instruction_set())
            )
            write_manifest(folder, config=decided, names=[*names, "config.yaml"])
            drop_parts(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if it is still empty: nothing was written
        raise
    print(f"wrote {folder}")


def tracked(
    stage: str, plain: dict[str, Any], decided: dict[str, Any], folder: Path, work: Work
) -> list[str]:
    """Run `work` as one tracked run; returns the names of the files that it wrote."""
    document, tracking = document_of(stage), plain["tracking"]
    with track(
        tracking["mode"],
        project=tracking["project"],
        folder=tracking["folder"],
        group=document.family(plain),
        job_type=stage,
        name=folder.name,
        tags=[plain["profile"]["name"], *document.base(plain).split("-")],
        config=decided,
    ) as tracker:
        return list(work(plain, folder, tracker))


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows with equal keys as CSV text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
