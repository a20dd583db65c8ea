"""Rehash what dvc.lock vouches for: `rewire check` names damaged and lost files.

DVC itself believes a file whose size and time of change are as it remembers; this command reads
every byte, as after a power cut or on a copied folder. DVC's own builder of hashes could be called
instead, but it is no documented interface, needs DVC where the results lie, and waits forever at a
pipe in a folder.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from rewire.errors import InputError, missing_package, unknown_name
from rewire.files import LARGEST_TEXT, check_size, read_bytes
from rewire.reporting.text_tables import summary_table

LOCK, PIPELINE, IGNORE = "dvc.lock", "dvc.yaml", ".dvcignore"
NEVER_HASHED = (".hg/", ".git/", ".git", ".dvc/")  # what DVC leaves out anywhere
STATES = {"outs": ("damaged", "missing"), "deps": ("changed", "missing")}

Ignored = Callable[[str], bool]  # path relative to the root, with a final slash for a folder


@dataclass(frozen=True)
class Entry:
    """One file or folder that a stage wrote (`outs`) or read (`deps`), with its MD5 in the lock."""

    stage: str
    kind: str
    path: str
    md5: str


def read_lock(path: Path) -> list[Entry]:
    """Entries of all stages of a lock file of DVC 3, in its order.

    Raises:
        InputError: if it is missing, damaged, or has hashes of another kind.
    """
    try:
        text = read_bytes(path, at_most=LARGEST_TEXT).decode("utf-8")
        lock = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return [
            Entry(stage, kind, item["path"], item[item["hash"]])  # DVC 2 gave no `hash`
            for stage, recorded in lock["stages"].items()
            for kind in STATES
            for item in recorded.get(kind, [])
        ]
    except FileNotFoundError as error:
        raise InputError(f"missing file '{path}': `dvc repro` writes it") from error
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"'{path}' is damaged or not a lock file of DVC 3: {error!r}") from error


def without_former(entries: Iterable[Entry], root: Path) -> list[Entry]:
    """The entries of stages that the pipeline still has: DVC keeps those of former ones."""
    entries = list(entries)
    try:
        pipeline = yaml.safe_load((root / PIPELINE).read_text(encoding="utf-8"))["stages"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return entries  # a lock file alone, as beside archived results
    return [entry for entry in entries if entry.stage.partition("@")[0] in pipeline]


def chosen_stages(entries: Iterable[Entry], name: str | None) -> list[Entry]:
    """Entries of stage `name`: one cell (`train@…`) or all cells of a stage (`train`).

    Raises:
        InputError: for a name that is not in the lock file.
    """
    entries = list(entries)
    if name is None:
        return entries
    found = [entry for entry in entries if name in (entry.stage, entry.stage.partition("@")[0])]
    if not found:
        cells = {entry.stage for entry in entries}
        raise unknown_name(
            "stage", name, cells if "@" in name else {cell.partition("@")[0] for cell in cells}
        )
    return found


def ignored_below(root: Path) -> Ignored:
    """Which paths DVC leaves out of a folder's hash: those that `.dvcignore` in `root` names."""
    try:
        from pathspec import GitIgnoreSpec
    except ImportError as error:
        raise missing_package("pathspec", extra="pipeline") from error
    path = root / IGNORE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return GitIgnoreSpec.from_lines([*NEVER_HASHED, *lines]).match_file


def file_md5(path: Path) -> str:
    """Hex MD5 of a file's content; raises `OSError` for a device or a pipe."""
    check_size(path, at_most=sys.maxsize)
    with open(path, "rb") as handle:
        return hashlib.file_digest(
            handle, functools.partial(hashlib.md5, usedforsecurity=False)
        ).hexdigest()


def folder_md5(root: Path, path: Path, ignored: Ignored) -> str:
    """MD5 of a folder as DVC 3 names it: of the JSON list of its files with their MD5s."""
    files = sorted(_files(root, path, ignored), key=lambda file: file.relative_to(path).as_posix())
    listing = [
        {"md5": file_md5(file), "relpath": file.relative_to(path).as_posix()} for file in files
    ]
    text = json.dumps(listing, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _files(root: Path, folder: Path, ignored: Ignored) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        relative = Path(parent).relative_to(root).as_posix()
        folders[:] = [name for name in folders if not ignored(f"{relative}/{name}/")]
        yield from (Path(parent, name) for name in names if not ignored(f"{relative}/{name}"))


def state_of(entry: Entry, root: Path, hashed: Callable[[str], str | None]) -> str | None:
    """What is wrong with an entry, None if it is whole; `hashed` gives a path's MD5 now."""
    found = hashed(entry.path)
    wrong, missing = STATES[entry.kind]
    return missing if found is None else None if found == entry.md5 else wrong


def check(
    root: Path, *, stage: str | None = None, deps: bool = False
) -> tuple[list[tuple[Entry, str]], int]:
    """Rehash the outs of `root`/dvc.lock.

    Args:
        root: folder of the lock file.
        stage: only this stage, or this cell of it.
        deps: the dependencies too; one that is an out of an earlier stage is an out as well.

    Returns:
        ([(entry, "damaged", "missing" or, for a dependency, "changed")], entries looked at).

    Raises:
        InputError: for an unreadable lock file or an unknown stage.
    """
    known = without_former(read_lock(root / LOCK), root)
    entries = [e for e in chosen_stages(known, stage) if deps or e.kind == "outs"]
    ignored = ignored_below(root)

    @functools.cache
    def hashed(name: str) -> str | None:
        path = root / name
        try:
            return folder_md5(root, path, ignored) if path.is_dir() else file_md5(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:  # a sector that cannot be read is a damaged file too
            return f"unreadable: {error.strerror}"

    states = [(entry, state_of(entry, root, hashed)) for entry in entries]
    return [(entry, state) for entry, state in states if state is not None], len(entries)


def report(faults: list[tuple[Entry, str]], looked_at: int) -> str:
    """The table of what is wrong, or one line if all is whole."""
    if not faults:
        return f"whole: all {looked_at:,} files and folders looked at are as {LOCK} says"
    rows = [{"state": s, "stage": entry.stage, "path": entry.path} for entry, s in faults]
    lines = [
        summary_table(rows).rstrip(),
        f"{len(faults):,} of {looked_at:,} are not as {LOCK} says",
    ]
    if any(state == "damaged" for _, state in faults):
        lines.append("delete the damaged ones, then `dvc repro` restores or makes them again")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 all whole, 1 something damaged or missing, 2 a value that cannot be used."""
    parser = argparse.ArgumentParser(prog="rewire check", description=__doc__)
    parser.add_argument("--stage", help="only this stage (train) or cell (train@natural-…)")
    parser.add_argument("--deps", action="store_true", help="rehash the dependencies too")
    parser.add_argument("--root", type=Path, default=Path(), help=f"folder of {LOCK}")
    options = parser.parse_args(arguments)
    try:
        faults, looked_at = check(options.root, stage=options.stage, deps=options.deps)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(faults, looked_at))
    return 1 if faults else 0
