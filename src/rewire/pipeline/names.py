"""Names and folders of cells: what was run is in the name, never when."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rewire.errors import InputError
from rewire.files import MANIFEST
from rewire.identity import ENGINE, NEUTRAL, is_neutral
from rewire.numbers import nameable
from rewire.pipeline.documents import document_of
from rewire.pipeline.foreign import groups_of

LONGEST_SUFFIX = 60
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=+-]{0,199}")  # one folder, never above or hidden


def cell_of(config: Mapping[str, Any], *, stage: str, overrides: Iterable[str] = ()) -> str:
    """A readable id such as `natural-s0.99-l2-seed0` or `ann-lq-seed0`.

    What changes the stage's result without being an axis is appended, so that a variant never
    takes the place of the standard cell: the variant (`arm`) that an experiment names, and
    overrides, as in `…-seed0-trainer.epochs=3`. Options that change no result are not
    (`rewire.identity`).

    Raises:
        InputError: if an axis or the variant cannot be part of a folder's name.
    """
    document = document_of(stage)
    name = document.base(config) + (f"-{config['arm']}" if config["arm"] else "")
    others, groups = [], groups_of(document.stages[stage], config)
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key in document.axes or is_neutral(key, config):
            continue
        if key.startswith("profile.") or key.partition(".")[0] in groups:
            others.append(nameable(override.lstrip("+")))
    suffix = "-".join(re.sub(r"[^A-Za-z0-9_.=-]+", "_", other) for other in sorted(others))
    if len(suffix) > LONGEST_SUFFIX:
        suffix = hashlib.sha256("-".join(sorted(others)).encode()).hexdigest()[:12]
    return safe_name("cell", f"{name}-{suffix}" if suffix else name)


def safe_name(kind: str, name: str) -> str:
    """`name` if it is the name of one folder and nothing else; else raises `InputError`."""
    if SAFE_NAME.fullmatch(name) is None:
        raise InputError(
            f"the name of the {kind} is {name[:80]!r}. Allowed: 1 to 200 letters, digits and "
            "_ . = + -, the first a letter or digit."
        )
    return name


def cell_folder(output: str | Path, *, profile: str, stage: str, cell: str) -> Path:
    """<output>/<profile>/<stage>/<cell>, never outside of `output`.

    Raises:
        InputError: for a profile or cell that is not the name of one folder.
    """
    return Path(output) / safe_name("profile", profile) / stage / safe_name("cell", cell)


def own_folder(config: Mapping[str, Any], *, stage: str, overrides: Iterable[str] = ()) -> Path:
    """Where a stage leaves its result for the cell that a configuration names.

    A cell that an earlier version began keeps the folder that it has: its name may hold options
    that change no result, as in `…-seed0-trainer.threads=1`.

    Raises:
        InputError: for a name that cannot be that of a folder.
    """
    folder = _folder(config, stage=stage, cell=cell_of(config, stage=stage, overrides=overrides))
    return folder if folder.exists() else next(iter(former_folders(folder)), folder)


def source_folder(config: Mapping[str, Any], *, stage: str, overrides: Iterable[str] = ()) -> Path:
    """Where an earlier stage has left what the same cell reads.

    The engine says how a network is computed, not which one: where no result was made with the
    one that is asked for now, it is that without the choice.
    """
    overrides = list(overrides)
    folder = own_folder(config, stage=stage, overrides=overrides)
    others = [override for override in overrides if not override.startswith(f"{ENGINE}=")]
    if folder.exists() or len(others) == len(overrides):
        return folder
    return own_folder(config, stage=stage, overrides=others)


_FORMER = re.compile(rf"-(?:{'|'.join(map(re.escape, NEUTRAL))})=[^-]*")


def former_folders(folder: Path) -> list[Path]:
    """Folders that earlier versions gave the cell in `folder`, finished ones first."""
    kept = (folder.parents[1] / "checkpoints").glob(f"{folder.parent.name}-*")
    names = {path.name.removeprefix(f"{folder.parent.name}-") for path in kept}
    names |= {path.name for path in folder.parent.glob(f"{folder.name.partition('-')[0]}-*")}
    found = [
        folder.with_name(name)
        for name in sorted(names)
        if name != folder.name and _FORMER.sub("", name) == folder.name
    ]
    return sorted(found, key=lambda path: not (path / MANIFEST).is_file())


def _folder(config: Mapping[str, Any], *, stage: str, cell: str) -> Path:
    return cell_folder(config["output"], profile=config["profile"]["name"], stage=stage, cell=cell)
