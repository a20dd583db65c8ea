"""What every stage does around its own work: cell, skip, tracking, outputs, manifest."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from rewire.data.images import ImageSet
from rewire.data.load import load_data
from rewire.errors import InputError
from rewire.files import MANIFEST, csv_text, writable_folder, write_json, write_manifest, write_text
from rewire.identity import decisive
from rewire.models.artifact import check_listed
from rewire.pipeline.cells import cell_of, own_folder, source_folder
from rewire.pipeline.document import CONFIG, SELECTIONS, WEIGHTS
from rewire.pipeline.documents import document_of, module_of
from rewire.pipeline.foreign import FOREIGN, foreign_of, groups_of
from rewire.pipeline.lock import alone
from rewire.pipeline.made import (
    PROVENANCE,
    arguments_of,
    command,
    hashes,
    is_current,
    made,
    refused,
)
from rewire.pipeline.partial_results import drop_parts, kept_folder
from rewire.pipeline.provenance import provenance
from rewire.sources import code_of
from rewire.tracking import Tracker, track

VARIANTS = {"trained": "train", "pruned": "prune"}  # variant of a network → stage that made it
ARTIFACTS = {"trained": "weights", "pruned": "pruned"}  # … → what tracking calls its file

# (configuration, folder of the cell, tracker) → names of the files written into the folder
Work = Callable[[dict[str, Any], Path, Tracker], Iterable[str]]


def deciding(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The part of a resolved configuration that decides the result of `stage`; no paths."""
    keys = list(groups_of(document_of(stage).stages[stage], config))
    if not foreign_of(config):
        keys += ["sparsity", "seed"]
    chosen = {key: config[key] for key in keys if key in config}
    chosen["data"] = {key: value for key, value in chosen["data"].items() if key != "root"}
    return chosen


def deciding_pieces(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """All that decides the pieces of a running stage: options, inputs and code."""
    return decisive(deciding(config, stage)) | {key: config[key] for key in ("inputs", "code")}


def model_spec(model: Mapping[str, Any]) -> dict[str, Any]:
    """What of the group `model` says which network it is, whatever it began with."""
    return {key: value for key, value in model.items() if not key.startswith("p_init_")}


def load_images(config: Mapping[str, Any]) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Training, validation and test images of a configuration, as they are."""
    options = {key: value for key, value in config["data"].items() if key != "augmentation"}
    return load_data(**options)


def sibling(config: Mapping[str, Any], overrides: Iterable[str], stage: str) -> Path:
    """Folder in which an earlier stage left its result for the same cell."""
    return source_folder(config, stage=stage, overrides=overrides)


def sources_of(stage: str, config: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Path]:
    """Earlier stage → the file of the same cell that a stage reads.

    A foreign network stands in the place of the trained one.
    """
    inputs = dict(document_of(stage).stages[stage].inputs)
    foreign = foreign_of(config)
    if foreign is not None:
        del inputs["train"]
    elif "train" in inputs:
        inputs["train"] = SELECTIONS[config["selection"]]
    found = {name: sibling(config, overrides, name) / file for name, file in inputs.items()}
    return found if foreign is None else {FOREIGN: foreign, **found}


def inputs_of(
    stage: str, config: Mapping[str, Any], overrides: Iterable[str]
) -> dict[str, str | None]:
    """Hashes of the files that a stage reads: a re-trained network makes its result stale."""
    return hashes(sources_of(stage, config, overrides))


def networks(config: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Path]:
    """Variant → file of the network: of the configured epoch of the training, and pruned.

    Of a foreign network: that file, and pruned if it was pruned.
    """
    if foreign := foreign_of(config):
        pruned = sibling(config, overrides, VARIANTS["pruned"]) / WEIGHTS
        return {"trained": foreign} | ({"pruned": pruned} if pruned.is_file() else {})
    names = {"trained": SELECTIONS[config["selection"]], "pruned": WEIGHTS}
    return {v: sibling(config, overrides, stage) / names[v] for v, stage in VARIANTS.items()}


def lineage(config: Mapping[str, Any], sources: Mapping[str, Path]) -> list[str]:
    """Tracked artifacts that these networks (variant → file) are; a foreign file is none."""
    foreign = foreign_of(config)
    return [f"{ARTIFACTS[v]}-{p.parent.name}" for v, p in sources.items() if p != foreign]


def check_sources(stage: str, config: Mapping[str, Any], overrides: Iterable[str]) -> None:
    """Refuse what earlier stages made from other results than those that are there.

    Raises:
        InputError: names the folder, and the command that makes it anew; or a damaged file.
    """
    overrides = list(overrides)
    sources = sources_of(stage, config, overrides)
    for file in sources.values():
        if file.is_file():
            check_listed(file)
    for name, file in sources.items():
        made_from = {} if name == FOREIGN else sources_of(name, config, overrides)
        if made_from and file.is_file() and not is_current(file.parent, made_from):
            check_sources(name, config, overrides)  # what is first in the chain is told first
            again = command(name, arguments_of(overrides, config), output=config["output"])
            raise InputError(
                f"'{file.parent}' is outdated: it was not made from the "
                f"{' and '.join(made_from)} that is there. Run it again first: {again}"
            )


def run_cell(
    stage: str,
    config: DictConfig,
    overrides: list[str],
    work: Work,
    *,
    more_inputs: Mapping[str, Path] | None = None,
) -> None:
    """Do `work` for one cell unless its finished result is there.

    A second start of the same cell waits for the first one, and then finds its result. A result of
    another configuration is not replaced without `force`; one that was made from other inputs
    than those that are there now is.

    Args:
        stage, config, overrides: what to run.
        work: does it; see `Work`. Its configuration has the hashes of the inputs as `inputs`, and
            those of the code as `code`.
        more_inputs: files of other cells that are read, by name.

    Raises:
        InputError: for a value that cannot be used; nothing is left half-written.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    folder = own_folder(plain, stage=stage, overrides=overrides)
    plain["code"] = code = code_of(module_of(stage))
    plain["inputs"] = inputs_of(stage, plain, overrides) | hashes(more_inputs or {})
    decided = deciding(plain, stage) | {"inputs": plain["inputs"]}
    if folder.name != (name := cell_of(plain, stage=stage, overrides=overrides)):
        print(f"'{folder}' has the name of an earlier version; it may be renamed to '{name}'")

    def finished() -> bool:
        return not plain["force"] and is_finished(folder, decided)

    if finished():
        return
    check_sources(stage, plain, overrides)
    base = writable_folder(folder).parents[1]
    try:
        with alone(base / "locks" / f"{stage}-{folder.name}"):
            if finished():
                return
            started = time.perf_counter()
            folder.mkdir(exist_ok=True)  # the run that was waited for may have taken it away
            for leftover in folder.glob(".*.tmp*"):  # of a killed run; DVC would hash it
                leftover.unlink()
            if plain["force"] and not requeued():
                drop_parts(folder)
            names = tracked(stage, plain, decided, folder, work)
            write_text(folder / CONFIG, yaml.safe_dump(decided, sort_keys=True))
            write_json(
                folder / PROVENANCE,
                provenance(
                    seconds=time.perf_counter() - started,
                    arguments=arguments_of(overrides, plain),
                ),
            )
            write_manifest(folder, config=decided, names=[*names, CONFIG], code=code)
            drop_parts(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if it is still empty: nothing was written
        raise
    print(f"wrote {folder}")


def is_finished(folder: Path, decided: Mapping[str, Any]) -> bool:
    """Whether the result in `folder` is what would be made now; says so, and what it is if not.

    Raises:
        InputError: for a finished result of another configuration.
    """
    result = made(folder)
    if result is None:
        if (folder / MANIFEST).is_file():
            print(f"damaged: {folder} is made anew", flush=True)
        return False
    if changes := result.changes(decided):
        raise refused(result, changes)
    if others := result.other_inputs(decided["inputs"]):
        print(f"outdated: {folder} was made from another {' and '.join(others)}", flush=True)
        return False
    code = result.other_code()
    by = f", made by {code}" if code else ""
    print(f"finished already: {folder}{by} (force=true runs it again)")
    return True


def requeued() -> bool:
    """Whether Slurm has started this job before: `force` was obeyed then."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") != "0"


def tracked(
    stage: str, plain: dict[str, Any], decided: dict[str, Any], folder: Path, work: Work
) -> list[str]:
    """Run `work` as one tracked run; returns the names of the files that it wrote."""
    document, tracking = document_of(stage), plain["tracking"]
    with track(
        tracking["mode"],
        project=tracking["project"],
        folder=tracking["folder"],
        system_metrics=tracking["system_metrics"],
        group=document.family(plain),
        job_type=stage,
        name=folder.name,
        tags=[plain["profile"]["name"], *document.base(plain).split("-")],
        config=decided,
        unfinished=kept_folder(folder) / "tracked_run.json",
    ) as tracker:
        return list(work(plain, folder, tracker))


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows with equal keys as CSV text."""
    return csv_text(list(rows[0]), ([row[column] for column in rows[0]] for row in rows))
