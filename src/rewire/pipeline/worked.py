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
        decided: what decides the result; what another one was worked on counts for that one.
    """
    note, of = kept / BEGUN, fingerprint(decided)
    seconds: dict[str, float] = {}  # by what decides the result
    with contextlib.suppress(InputError, KeyError, TypeError, ValueError, AttributeError):
        earlier = read_json(note)  # not there, or damaged
        last = max(path.stat().st_mtime for path in kept.rglob("*") if path.is_file())
        seconds = {key: float(value) for key, value in earlier["seconds"].items()}
        seconds[earlier["of"]] += last - note.stat().st_mtime
    write_json(note, {"of": of, "seconds": {of: 0.0} | seconds})
    return seconds.get(of, 0.0)


def forget(kept: Path) -> None:
    """Take the note back if nothing was kept beside it."""
    with contextlib.suppress(OSError):
        if [path.name for path in kept.iterdir()] == [BEGUN]:
            (kept / BEGUN).unlink()
            kept.rmdir()
