"""How long a cell has been worked on, over all starts of its command."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewire.errors import InputError
from rewire.files import fingerprint, read_json, write_json

BEGUN = "begun.json"  # among what a stopped run goes on from


def begin(kept: Path, *, decided: Mapping[str, Any]) -> float:
    """Note a start; returns the seconds that earlier ones, which were stopped, have worked.

    Each of them counts from its start to the last thing that it kept: what came after that is lost
    and done again. So no stop, not even of the machine, needs to be noted.

    Args:
        kept: folder of what a stopped run goes on from.
        decided: what decides the result; of another one nothing is gone on from, or counted.
    """
    note = kept / BEGUN
    of = fingerprint(decided)
    seconds = 0.0
    with contextlib.suppress(InputError, KeyError, TypeError):  # not there, or damaged
        earlier = read_json(note)
        if earlier["of"] == of:
            last = max(path.stat().st_mtime for path in kept.rglob("*") if path.is_file())
            seconds = float(earlier["seconds"]) + last - note.stat().st_mtime
    write_json(note, {"of": of, "seconds": seconds})
    return seconds


def forget(kept: Path) -> None:
    """Take the note back if nothing was kept beside it."""
    with contextlib.suppress(OSError):
        if [path.name for path in kept.iterdir()] == [BEGUN]:
            (kept / BEGUN).unlink()
            kept.rmdir()
