"""What is copied of a result, and said of where it was made."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rewire.errors import InputError
from rewire.files import WEIGHTS
from rewire.pipeline.document import CONFIG, HISTORY, METRICS, SELECTIONS
from rewire.provenance import PROVENANCE, Provenance

LARGEST = 5_000_000  # bytes of a network that is still copied: VGG11 at 95 % has 4 million
PICTURES = ("curves.png", "curves.csv", "noise.png", "decoupled.png", "cost.json")
KEPT = (METRICS, CONFIG, PROVENANCE, HISTORY, *PICTURES)
NETWORKS = tuple(SELECTIONS.values())
TENSORS = (".npz", ".safetensors")  # ledgers, noise
COMMENT = "comment.md"  # in a folder of published results: what a person says of them


def copy_files(folder: Path, target: Path) -> None:
    """Copy what is small of a result, with STAGE_ before each file's name.

    Of networks the trained one alone, by its own name.
    """
    stage = folder.parent.name.removeprefix("article_")
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.name in KEPT or (path.suffix in TENSORS and path.name not in NETWORKS):
            shutil.copyfile(path, target / f"{stage}_{path.name}")
    if stage == "train":
        weights = folder / WEIGHTS
        if weights.is_file() and weights.stat().st_size <= LARGEST:
            shutil.copyfile(weights, target / WEIGHTS)
        else:
            (target / WEIGHTS).unlink(missing_ok=True)  # of an earlier training


def drop(stage: str, cell: Path) -> None:
    """Take the files of a stage out of a published cell."""
    for path in cell.glob(f"{stage.removeprefix('article_')}_*"):
        path.unlink()


def published_config(path: Path) -> Mapping[str, Any]:
    """What a published STAGE_config.yaml holds; raises `InputError` if it is damaged."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"'{path}' is damaged: no configuration is in it.") from error
    if not isinstance(config, Mapping):
        raise InputError(f"'{path}' is damaged: no configuration is in it.")
    return config


def provenances(
    source: Path, names: Sequence[str], stages: Sequence[str]
) -> dict[str, list[Provenance]]:
    """Stage → the provenance of each of its cells, stages that have run alone."""
    paths = {stage: [source / stage / name / PROVENANCE for name in names] for stage in stages}
    there = {
        stage: [Provenance.read(path) for path in several if path.is_file()]
        for stage, several in paths.items()
    }
    return {stage: several for stage, several in there.items() if several}


def comment(target: Path) -> str:
    """Markdown of the folder's comment.md, which its page shows below the scale; "" without one.

    Raises:
        InputError: if it is no text in UTF-8.
    """
    path = target / COMMENT
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' cannot be read. Allowed: text in UTF-8.") from error


def caption(path: Path) -> str:
    """What a picture shows, from its name."""
    name = path.parent.name + ": sanity checks" if path.stem == "audit_curves" else path.stem
    return name.replace("_", " ")
