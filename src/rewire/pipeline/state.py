"""What a folder of results says about itself: damaged and outdated cells, and provenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rewire.errors import InputError
from rewire.files import MANIFEST, content_hash, read_json, sha256
from rewire.pipeline.document import CONFIG, METRICS
from rewire.pipeline.documents import DOCUMENTS, document_of
from rewire.pipeline.foreign import FOREIGN
from rewire.pipeline.made import absent, command_for, read_config, remark
from rewire.provenance import PROVENANCE, Provenance, hours
from rewire.reporting.html.model import StageRun
from rewire.reporting.html.tables import Location

STAGES = tuple(name for document in DOCUMENTS for name in document.with_results)
Cell = tuple[str, str]  # (stage, folder of the cell)


@dataclass(frozen=True)
class Results:
    """A profile's folder and what is known of its cells.

    Attributes:
        source: the folder, OUTPUT/PROFILE.
        profile: its name.
        cells: that are there, finished or not.
        doubts: of the cells that are not what they seem, a sentence each.
        provenance: of the cells that have one.
    """

    source: Path
    profile: str
    cells: tuple[Cell, ...]
    doubts: Mapping[Cell, tuple[str, ...]]
    provenance: Mapping[Cell, Provenance]

    def locate(self, stage: str, cell: str, *, place: str, file: str = METRICS) -> Location:
        """Where a number of a cell stands, and how it is made again."""
        stages = (*chain(stage), stage)
        made_by = self.provenance.get((stage, cell))
        there = [f for s in stages if (f := self.source / s / cell) and (f / CONFIG).is_file()]
        return Location(
            cell=cell,
            file=f"{self.profile}/{stage}/{cell}/{file}",
            place=place,
            commands=tuple(map(command_for, there)),
            commit=made_by.commit if made_by else None,
            doubts=tuple(
                doubt for earlier in stages for doubt in self.doubts.get((earlier, cell), ())
            ),
        )


def read_state(source: Path, profile: str) -> Results:
    """Examine every cell below `source`."""
    cells = {(stage, p.name): p for stage in STAGES for p in sorted((source / stage).glob("*/"))}
    hashes = {
        cell: {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
        for cell, folder in cells.items()
    }
    known = {digest for found in hashes.values() for digest in found.values()}
    manifests = [folder / MANIFEST for cell, folder in cells.items() if MANIFEST in hashes[cell]]
    known |= set(map(content_hash, manifests))
    known |= {digest for path in manifests for digest in absent(path.parent).values()}
    doubts = {cell: tuple(_doubts(cell, cells[cell], hashes[cell], known)) for cell in cells}
    paths = {cell: folder / PROVENANCE for cell, folder in cells.items()}
    return Results(
        source=source,
        profile=profile,
        cells=tuple(cells),
        doubts={cell: found for cell, found in doubts.items() if found},
        provenance={cell: Provenance.read(path) for cell, path in paths.items() if path.is_file()},
    )


def _doubts(
    cell: Cell, folder: Path, hashes: Mapping[str, str], known: Iterable[str]
) -> Iterator[str]:
    """Why a cell is not what it seems."""
    place = "/".join(cell)
    if MANIFEST not in hashes:
        yield f"{place} is not finished"
        return
    listed = read_json(folder / MANIFEST)
    if not isinstance(listed, Mapping) or not isinstance(listed.get("files"), Mapping):
        raise InputError(f"'{folder / MANIFEST}' is damaged: it lists no files")
    for name, digest in listed["files"].items():
        if hashes.get(name) != digest:
            yield f"{place}/{name} is {'damaged' if name in hashes else 'missing'}"
    for stage, digest in (configuration(folder).get("inputs") or {}).items():
        if stage != FOREIGN and digest is not None and digest not in known:
            yield f"{place} is outdated: its input of {stage} is no longer the one that is here"


def configuration(folder: Path) -> dict[str, Any]:
    """What a finished cell was run with; empty if it does not say."""
    path = folder / CONFIG
    try:
        found = read_config(folder)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"'{path}' is damaged or not YAML: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"'{path}' is damaged: no configuration is in it")
    return found


def warnings(results: Results) -> Iterator[str]:
    """What a reader must know before any number."""
    for found in results.doubts.values():
        yield from (f"{doubt}." for doubt in found)
    yield from mixed_scales(results.source)
    folders = [results.source / stage / cell for stage, cell in results.cells]
    if missing := sum(len(absent(folder)) for folder in folders):
        yield (
            f"Networks that are not here: {missing}. They belong to restored results; what is "
            "published has no pruned and no large ones."
        )
    if said := remark(folders):
        yield said.strip()


def mixed_scales(source: Path) -> Iterator[str]:
    """Cells side by side that were trained at different scales, as of two profiles in a folder."""
    for document in DOCUMENTS:
        stage = next(iter(document.stages))
        scales: dict[str, dict[str, list[str]]] = {}
        for folder in sorted((source / stage).glob("*/")):
            config, match = configuration(folder), document.names.fullmatch(folder.name)
            if not config or match is None or match["rest"]:
                continue  # a variant may have a scale of its own: its name says so
            trainer, data = config["trainer"], config["data"]
            scale = (
                f"{data['source']} data, width {config[document.network]['width']:g}, "
                + (f"{trainer['epochs']} epochs" if "epochs" in trainer else
                   f"{sum(steps for _, steps in trainer['phases']):,} steps")
            )  # fmt: skip
            scales.setdefault(document.kind(config), {}).setdefault(scale, []).append(folder.name)
        for kind, found in scales.items():
            if len(found) > 1:
                parts = "; ".join(f"{scale}: {', '.join(names)}" for scale, names in found.items())
                yield (
                    f"The {kind} cells of this folder have different scales, as if of several "
                    f"profiles, and must not be compared. {parts}."
                )


def chain(stage: str) -> tuple[str, ...]:
    """Stages that must run before this one, in order."""
    found: dict[str, None] = {}
    for earlier in document_of(stage).stages[stage].inputs:
        found |= dict.fromkeys([*chain(earlier), earlier])
    return tuple(found)


def stage_runs(results: Results) -> tuple[tuple[StageRun, ...], tuple[str, ...]]:
    """What ran of every stage, and the versions of all libraries behind it."""
    runs, versions = [], set()
    for stage in STAGES:
        records = [record for (s, _), record in results.provenance.items() if s == stage]
        if not records:
            continue
        versions |= {f"{n} {v}" for record in records for n, v in record.versions.items()}
        runs.append(
            StageRun(
                stage=stage,
                cells=len(records),
                hours=hours(records),
                commits=_distinct(str(record.commit) for record in records),
                machines=_distinct(record.machine for record in records),
            )
        )
    return tuple(runs), tuple(sorted(versions))


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts)))
