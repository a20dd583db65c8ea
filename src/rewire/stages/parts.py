"""Pieces of a long stage that survive an interruption."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rewire.files import fingerprint, read_json, write_json

Part = Callable[[str, Callable[[], Any]], Any]
"""(name, compute) → what `compute` gave now or before the interruption: plain JSON values."""


@contextmanager
def parts(folder: Path, *, decided: Mapping[str, Any]) -> Iterator[Part]:
    """Keep every piece as a JSON file beside the results until the block ends without an error.

    A stage that was stopped goes on behind its last whole piece. Floats come back exactly.

    Args:
        folder: the cell's folder, OUTPUT/PROFILE/STAGE/CELL.
        decided: everything that decides the pieces; pieces of another configuration are not used.
    """
    stage, cell = folder.parent.name, folder.name
    kept = folder.parents[1] / "checkpoints" / f"{stage}-{cell}"
    current = kept / fingerprint(decided)[:16]

    def part(name: str, compute: Callable[[], Any]) -> Any:
        path = current / f"{name}.json"
        if not path.is_file():
            write_json(path, compute())
        return read_json(path)

    yield part
    shutil.rmtree(kept, ignore_errors=True)
