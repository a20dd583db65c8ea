"""How long a cell has been worked on, and where, over all starts of its command."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewire.errors import InputError
from rewire.files import fingerprint, read_json, write_json

BEGUN = "begun.json"  # among what a stopped run goes on from


def begin(kept: Path, *, decided: Mapping[str, Any], machine: str) -> dict[str, float]:
    """Note a start; returns the seconds that earlier ones, which were stopped, have worked.

    Each of them counts from its start to the last thing that it kept: what came after that is lost
    and done again. So no stop, not even of the machine, needs to be noted.

    Args:
        kept: folder of what a stopped run goes on from.
        decided: what decides the result; what another one was worked on counts for that one.
        machine: where it starts.

    Returns:
        Seconds by machine, in the order of their first starts, of machines that kept anything.
    """
    note, of = kept / BEGUN, fingerprint(decided)
    worked: dict[str, dict[str, float]] = {}  # by what decides the result, and by machine
    with contextlib.suppress(InputError, KeyError, TypeError, ValueError, AttributeError):
        earlier = read_json(note)  # not there, or damaged
        last = max(path.stat().st_mtime for path in kept.rglob("*") if path.is_file())
        worked = {
            key: {str(where): float(seconds) for where, seconds in places.items()}
            for key, places in earlier["seconds"].items()
        }
        if seconds := last - note.stat().st_mtime:
            places = worked.setdefault(earlier["of"], {})
            places[earlier["machine"]] = places.get(earlier["machine"], 0.0) + seconds
    write_json(note, {"of": of, "machine": machine, "seconds": worked})
    return worked.get(of, {})


def forget(kept: Path) -> None:
    """Take the note back if nothing was kept beside it."""
    with contextlib.suppress(OSError):
        if [path.name for path in kept.iterdir()] == [BEGUN]:
            (kept / BEGUN).unlink()
            kept.rmdir()
