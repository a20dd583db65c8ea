"""Lay published results out as outputs again, to go on from them.

rewire restore results/thesis/paper outputs/paper: further stages then find the trained networks,
and `rewire publish` shows what was measured elsewhere beside what was measured here. Results that
are already there stay. Networks too large to be published are missing, all of the article's full
scale among them: their results are shown, and a stage that needs one asks for it to be made anew.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewire.errors import InputError
from rewire.files import MANIFEST, WEIGHTS, read_json, sha256, writable_folder, write_manifest
from rewire.pipeline.document import CONFIG, LAST, SELECTIONS, Document
from rewire.pipeline.documents import DOCUMENTS
from rewire.pipeline.made import read_config
from rewire.pipeline.profiles import profile_of
from rewire.provenance import PROVENANCE
from rewire.tools.published_files import published_config

UNKNOWN = "unknown"  # hash of a network that no later stage recorded


def restore(published: Path, target: Path) -> list[Path]:
    """Lay the cells of `published` out in `target`; returns the folders that were written.

    Raises:
        InputError: if nothing is published there, something is damaged, or `target` has the name of
            no profile; nothing is written then.
    """
    paths = sorted(published.glob(f"cells/*/*_{CONFIG}"))
    if not paths:
        raise InputError(
            f"no published cells in '{published}'. Allowed: a folder that `rewire publish` wrote."
        )
    configs: dict[Path, list[Mapping[str, Any]]] = {}  # of each cell
    for path in paths:
        configs.setdefault(path.parent, []).append(published_config(path))
    documents = {cell: document_of_cell(cell, found) for cell, found in configs.items()}
    for document in set(documents.values()):
        check_scale(published, profile_of(target, document).name)
    for cell, document in documents.items():
        check(cell, networks(configs[cell], trainer(document), document)[WEIGHTS])
    written = []
    for cell, document in documents.items():
        for stage in document.with_results:
            folder, short = target / stage / cell.name, document.short(stage)
            if (cell / f"{short}_{CONFIG}").is_file() and not (folder / MANIFEST).is_file():
                left = networks(configs[cell], stage, document)
                restore_result(cell, document, stage, writable_folder(folder), left=left)
                written.append(folder)
    return written


def document_of_cell(cell: Path, configs: Sequence[Mapping[str, Any]]) -> Document:
    """The document that a published cell belongs to, by its configurations.

    Raises:
        InputError: if they are of no document.
    """
    for document in DOCUMENTS:
        if all(document.network in config for config in configs):
            return document
    raise InputError(
        f"'{cell}' is no cell of a document. Allowed: results of the "
        f"{' and the '.join(document.name for document in DOCUMENTS)}."
    )


def check_scale(published: Path, profile: str) -> None:
    """Refuse results of another scale than that of the folder they are to go to."""
    tables = [read_json(path) for path in sorted(published.glob("tables/*.json"))]
    scales = {
        table["profile"] for table in tables if isinstance(table, dict) and table.get("profile")
    }
    if scales - {profile}:
        raise InputError(
            f"'{published}' holds results of profile {' and '.join(sorted(scales))}, not of "
            f"{profile}. Allowed: the outputs folder of that profile."
        )


def check(cell: Path, digest: str) -> None:
    """Refuse a cell whose results were made from another network than the one of this hash."""
    weights = cell / WEIGHTS
    if weights.is_file() and digest not in (UNKNOWN, sha256(weights)):
        raise InputError(
            f"'{weights}' is damaged: the results beside it were made from another network."
        )


def restore_result(
    cell: Path, document: Document, stage: str, folder: Path, *, left: Mapping[str, str]
) -> None:
    """Write the result of one stage from a cell's published files; its manifest comes last.

    The manifest names a network that was not published, too, with the hash that later stages
    recorded: what was made from it is known, and the result is not whole.

    Args:
        left: file → hash of the networks that the stage has left.
    """
    short = document.short(stage)
    for path in cell.glob(f"{short}_*"):
        shutil.copyfile(path, folder / path.name.removeprefix(f"{short}_"))
    if stage == trainer(document) and (cell / WEIGHTS).is_file():
        shutil.copyfile(cell / WEIGHTS, folder / WEIGHTS)
    names = [path.name for path in folder.iterdir() if path.name not in (PROVENANCE, MANIFEST)]
    absent = {name: digest for name, digest in left.items() if name not in names}
    write_manifest(folder, config=read_config(folder), names=names, absent=absent)


def trainer(document: Document) -> str:
    """The stage that trains: the first one."""
    return next(iter(document.stages))


def networks(
    configs: Sequence[Mapping[str, Any]], stage: str, document: Document
) -> dict[str, str]:
    """File → hash of the networks that a stage has left, as far as later stages recorded it.

    The one that every later stage needs is always among them.
    """
    if WEIGHTS not in document.stages[stage].outs:
        return {}
    return {WEIGHTS: UNKNOWN} | dict(recorded(configs, stage, document))


def recorded(
    configs: Sequence[Mapping[str, Any]], maker: str, document: Document
) -> Iterator[tuple[str, str]]:
    """(File, hash) of a network that a stage left, from the results that were made from it."""
    for config in configs:
        inputs: Mapping[str, str] = config.get("inputs") or {}
        if maker in inputs:
            trained = maker == trainer(document)
            file = SELECTIONS[config.get("selection", LAST)] if trained else WEIGHTS
            yield file, inputs[maker]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="rewire restore", description=__doc__)
    parser.add_argument("published", type=Path, help="published results: results/thesis/paper")
    parser.add_argument("target", type=Path, help="outputs of that profile, e.g. outputs/paper")
    chosen = parser.parse_args(arguments)
    written = restore(chosen.published, chosen.target)
    print(f"restored {len(written)} results in {chosen.target}")
