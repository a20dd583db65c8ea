"""The commands of a sweep's cells, for people and other schedulers to run."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rewire.pipeline.documents import document_of

Rows = Iterable[Mapping[str, Any]]
"""A sweep's cells, each with `cell`, `overrides` and, if decided, `status` and `error`."""

_BARE = re.compile("[A-Za-z_./][A-Za-z0-9_./+:@%-]*")
_NO_TEXT = "null", "true", "false", "nan", "inf"


def command_of(stage: str, overrides: Sequence[str], engine: Sequence[str] = ()) -> str:
    """What runs one cell by itself, or as a sweep of one on an `engine` that is not this machine.

    Args:
        stage: what is run.
        overrides: of the cell.
        engine: overrides of Hydra that name the engine; none for this machine.
    """
    sweep = ["-m"] if engine else []
    return shlex.join(["rewire", *words_of(stage), *sweep, *overrides, *engine])


def option(name: str, value: str) -> str:
    """NAME=VALUE, quoted as Hydra reads it where it would not take the bare value for a text."""
    bare = _BARE.fullmatch(value) and value.lower() not in _NO_TEXT
    return f"{name}={value if bare else quoted(value)}"


def quoted(text: str) -> str:
    """A text as Hydra's command line has it, whatever characters are in it."""
    # Backslashes stand for themselves, but before a quote.
    escaped = re.sub(r"(\\*)('|\Z)", lambda m: 2 * m[1] + (m[2] and "\\'"), text)
    return f"'{escaped}'"


def words_of(stage: str) -> list[str]:
    """What the command line calls a stage: its document, and its name there."""
    document = document_of(stage)
    return [document.name, document.short(stage)]


def print_commands(stage: str, rows: Rows) -> int:
    """Print the commands of cells that are missing, and nothing else, on standard output.

    Returns:
        An exit code: 1 if a cell cannot run, which standard error tells.
    """
    failed = 0
    for row in rows:
        if "status" not in row:
            print(command_of(stage, row["overrides"]))
        elif row["status"] == "failed":
            failed = 1
            print(f"failed: {row['cell']}: {row['error']}", file=sys.stderr)
    return failed


def list_failures(stage: str, rows: Rows, *, engine: Sequence[str]) -> int:
    """Print what to do about jobs without a result; returns the number of failed ones."""
    rows = list(rows)
    failed = [row for row in rows if row["status"] == "failed"]
    for row in failed:
        retry = command_of(stage, row["overrides"], engine)
        print(f"failed: {row['cell']}: {row['error']}\n  retry: {retry}")
    if stopped := sum(row["status"] == "stopped" for row in rows):
        print(f"{stopped} stopped: the same sweep again does what is missing")
    return len(failed)
