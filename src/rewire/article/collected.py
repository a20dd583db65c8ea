"""The finished cells of a profile, as the article's tables, report and publication take them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rewire.article.document import NAME
from rewire.article.report.runs import Finished, Measured, Outdated, Run
from rewire.article.results import (
    CURVES,
    Adapted,
    CurveRow,
    Decoupled,
    Noised,
    Pruned,
    Transferred,
)
from rewire.errors import InputError
from rewire.files import MANIFEST
from rewire.pipeline.common import Profile
from rewire.pipeline.document import METRICS, WEIGHTS
from rewire.pipeline.made import command_for, is_current, read_config, remark
from rewire.pipeline.profiles import finished
from rewire.record import Record

Metrics = TypeVar("Metrics", bound=Record)
LISTS = {  # stage → the list of cells in params.yaml
    "article_noise": "cells",
    "article_curves": "pruned",
    "article_adaptive": "pruned",
    "article_transfer": "transfer",
    "article_decoupled": "decoupled",
}


@dataclass(frozen=True)
class Results:
    """What the stages of `LISTS` left, and what is not shown of it."""

    noise: list[Measured[Noised]]
    runs: list[Run]
    adaptive: list[Measured[Adapted]]
    transfer: list[Measured[Transferred]]
    decoupled: list[Measured[Decoupled]]
    outdated: list[Outdated]

    @property
    def folders(self) -> list[Path]:
        """Of everything that is shown."""
        shown = (self.noise, self.runs, self.adaptive, self.transfer, self.decoupled)
        return [cell.folder for cells in shown for cell in cells]


def collected(folders: Mapping[str, Iterable[Path]], profile: str) -> Results:
    """The results in these folders, by stage; those without a finished cell are passed over.

    Raises:
        InputError: if a file of a cell that is shown is damaged, or of another version.
    """
    outdated = []

    def current(stage: str, kind: type[Metrics]) -> list[Measured[Metrics]]:
        found = []
        for folder in folders[stage]:
            if not (folder / METRICS).is_file():
                continue
            config = read_config(folder)
            network, head = config["network"]["name"], config["head"]["name"]
            cell = Finished(network, head, config["seed"], profile, folder)
            if is_of_what_is_there(folder):
                found.append(Measured(**vars(cell), metrics=kind.read(folder / METRICS)))
            else:
                outdated.append(Outdated(**vars(cell), command=command_for(folder)))
        return found

    return Results(
        noise=current("article_noise", Noised),
        runs=[
            Run(**vars(cell), rows=read_curves(cell.folder / CURVES))
            for cell in current("article_curves", Pruned)
        ],
        adaptive=current("article_adaptive", Adapted),
        transfer=current("article_transfer", Transferred),
        decoupled=current("article_decoupled", Decoupled),
        outdated=outdated,
    )


def collected_from(source: Path, profile: str) -> Results:
    """The results of all finished cells of a profile's folder that are no variants."""
    stages = {stage: [source / stage / name for name in standard(source, stage)] for stage in LISTS}
    return collected(stages, profile)


def read_curves(path: Path) -> list[CurveRow]:
    """The rows of a curves.csv; raises `InputError` if it is missing or damaged."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is missing or damaged: {error}") from error
    return [CurveRow.of(row, file=path) for row in csv.DictReader(io.StringIO(text))]


def standard(source: Path, stage: str) -> list[str]:
    """Finished cells of a stage that are no variants, by base and seed."""
    matches = [match for name in finished(source, stage) if (match := NAME.fullmatch(name))]
    whole = [match for match in matches if not match["rest"]]
    return [m.string for m in sorted(whole, key=lambda m: (m["base"], int(m["seed"])))]


def is_of_what_is_there(folder: Path) -> bool:
    """Whether a result, and what it was made from, was made from the networks that are there."""
    base, cell, config = folder.parents[1], folder.name, read_config(folder)
    files: dict[str, Path] = {}
    for name in config.get("inputs") or {}:
        stage, _, head = name.partition(" of ")
        other = f"{config['network']['name']}-{head}-seed{config['seed']}" if head else cell
        files[name] = base / stage / other / (WEIGHTS if stage == "article_train" else MANIFEST)
    noise = [path.parent for path in files.values() if path.name == MANIFEST]
    return is_current(folder, files) and all(map(is_of_what_is_there, noise))


def noting(profile: Profile, results: Results, folders: Iterable[Path]) -> Profile:
    """`profile`, saying what other code than today's made in `folders`, and what is outdated.

    Prints both, too.
    """
    for cell in results.outdated:
        print(f"outdated and left out: {cell.folder}: run {cell.command}")
    if said := remark(folders):
        print(said.strip())
    if results.outdated:
        again = "; ".join(cell.command for cell in results.outdated)
        said += f" Outdated, hence left out: run {again}."
    return profile.noting(said)
