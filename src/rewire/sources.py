"""The code behind a result: the files that a module imports, and their hashes.

What is found by discovery (`rewire.registry`) counts, of this package and of the extensions: all
that registers something where the module looks it up.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from rewire.registry import EXTENSIONS, OPEN, PACKAGE, extension_folder, module_name

APART = (
    "rewire.article.document",
    "rewire.article.results",
    "rewire.cli",
    "rewire.pipeline.common",
    "rewire.pipeline.console",
    "rewire.pipeline.document",
    "rewire.pipeline.documents",
    "rewire.pipeline.lock",
    "rewire.pipeline.names",
    "rewire.pipeline.paths",
    "rewire.pipeline.provenance",
    "rewire.pipeline.schema",
    "rewire.progress",
    "rewire.provenance",
    "rewire.record",
    "rewire.thesis.document",
    "rewire.thesis.metrics",
    "rewire.tracking",
    "rewire.training.metrics",
)
"""Records, names and declarations, the command line, locks, bars: imported by stages, deciding no
number. What is declared stands in dvc.yaml, too, and DVC sees it there."""
_IMPORT = re.compile(r"^\s*from (rewire[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
_MODULE = re.compile(r"^\s*import (rewire[\w.]*)", re.MULTILINE)
_TABLES = {registry.table: registry for registry in OPEN.values()}
_HOME = "rewire.registry"


@functools.cache
def code_of(module: str) -> dict[str, str]:
    """File below src/rewire → first 12 hex digits of its SHA-256, of all that `module` imports.

    Those that it imports by way of others are among them, and imports inside functions; so are the
    sources of the compiled kernels where the engine is. A changed comment is changed code.

    Args:
        module: dotted name, such as "rewire.thesis.train".
    """
    files = set(closure(module))
    if PACKAGE / "engine" / "library.py" in files:
        files |= set((PACKAGE / "engine" / "native").glob("*.*"))
    return {
        shown(path): hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in sorted(files)
    }


def shown(path: Path) -> str:
    """A file below src/rewire, or `extensions/NAME.py`."""
    own = path.is_relative_to(PACKAGE)
    return path.relative_to(PACKAGE).as_posix() if own else f"extensions/{path.name}"


def closure(module: str) -> list[Path]:
    """The files that a module is made of: its own, and those that it imports."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = file_of(name)
        if path is None or name in found or is_apart(name):
            continue
        found[name] = path
        waiting += [name.rpartition(".")[0], *imported(path)]
    return sorted(found.values())


def is_apart(name: str) -> bool:
    """Whether a module, or a package that it is in, decides no number."""
    return any(name == apart or name.startswith(f"{apart}.") for apart in APART)


def imported(path: Path) -> Iterator[str]:
    """Names that may be modules of this package, as its files are written: one import a line."""
    text = path.read_text(encoding="utf-8")
    for package, members in _IMPORT.findall(text):
        yield package
        yield from (f"{package}.{member}" for member in re.findall(r"\w+", members))
        if package == _HOME:
            tables = [_TABLES[table] for table in re.findall(r"\w+", members) if table in _TABLES]
            found = {entry.path for table in tables for entry in table.declared().values()}
            yield from map(module_name, sorted(found))
    yield from _MODULE.findall(text)


def file_of(name: str) -> Path | None:
    """The file of a module or package; None if it is none of this package."""
    first, *rest = name.split(".")
    if first == EXTENSIONS and (folder := extension_folder()) and len(rest) == 1:
        return folder / f"{rest[0]}.py"
    if first != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*rest)
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)
