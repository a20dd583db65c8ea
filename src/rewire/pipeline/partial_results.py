"""Pieces of a long stage that survive an interruption."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from rewire.errors import InputError
from rewire.files import fingerprint, read_json, write_json
from rewire.identity import differs_from

Part = Callable[[str, Callable[[], Any]], Any]
"""(name, compute) → what `compute` gave now or before the interruption: plain JSON values."""
T = TypeVar("T")
DECIDED = ".decided.json"  # beside the pieces: what decided them


@contextmanager
def parts(folder: Path, *, decided: Mapping[str, Any]) -> Iterator[Part]:
    """Keep every piece as a JSON file beside the results until the cell is finished.

    A stage that was stopped goes on behind its last whole piece. Floats come back exactly.

    Args:
        folder: the cell's folder, OUTPUT/PROFILE/STAGE/CELL.
        decided: everything that decides the pieces, the code too; others stay unused,
            and that is said.
    """
    current = kept_folder(folder) / fingerprint(decided)[:16]
    tell_others(current, decided)

    def part(name: str, compute: Callable[[], Any]) -> Any:
        path = current / f"{name}.json"
        try:
            return read_json(path)
        except InputError:  # not there, or damaged on the disk
            value = compute()
            if not (current / DECIDED).is_file():
                write_json(current / DECIDED, dict(decided))
            write_json(path, value)
            return read_json(path)

    yield part


def piece(part: Part, name: str, compute: Callable[[], T], kind: type[T]) -> T:
    """`part` for records: `kind` is e.g. `list[Trial]`."""
    values = TypeAdapter(kind)

    def plain() -> object:
        return values.dump_python(compute(), by_alias=True, exclude_unset=True)

    return values.validate_python(part(name, plain))


def tell_others(current: Path, decided: Mapping[str, Any]) -> None:
    """Say what other pieces beside the folder `current` are of: their time may come again."""
    for other in sorted(current.parent.glob("*/")):
        if other == current:
            continue
        why = differs_from(other / DECIDED, decided)
        print(f"pieces of {why} are not used and stay in '{other}'", flush=True)


def kept_folder(folder: Path) -> Path:
    """Where the pieces of the cell in `folder` are, outside of what the pipeline tracks."""
    return folder.parents[1] / "checkpoints" / f"{folder.parent.name}-{folder.name}"


def drop_parts(folder: Path) -> None:
    """Delete the pieces, also those of other configurations, once the manifest is written."""
    shutil.rmtree(kept_folder(folder), ignore_errors=True)
