"""Dependencies point one way, and each moving library has one door."""

from __future__ import annotations

import ast
import graphlib
import re
from pathlib import Path

import pytest

from rewire.sources import PACKAGE, file_of

SOURCE = PACKAGE.parent
ROOT = SOURCE.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
FILES = sorted(
    path for room in ("rewire", "hydra_plugins") for path in (SOURCE / room).rglob("*.py")
)

# Who may import a library: packages or files below src/rewire.
DOORS = {
    "hydra": {"cli.py", "config", "sweep", "tools/prove_resume.py"},
    "omegaconf": {"cli.py", "config", "sweep", "thesis", "article", "pipeline", "tools"},
    "pytorch_lightning": {"training"},
    "wandb": {"tracking"},
    "wandb_workspaces": {"tracking"},
    "torchattacks": {"attacks/adapters"},
    "pyautoattack": {"attacks/adapters"},
    "matplotlib": {"reporting", "thesis/report", "article/report"},
    "torchvision": {"data", "_torchvision_hook.py"},
}
# From the ground up: a room may import from those below it in this list, and those beside it.
LEVELS = (
    ("models", "data", "tracking", "structure"),
    ("connectivity", "attacks", "pruning", "engine"),
    ("evaluation", "objectives"),
    ("reporting", "training"),
    ("pipeline",),
    ("config",),
    ("sweep", "thesis", "article"),
    ("tools",),
    ("cli.py", "__main__.py"),
)
# Beside each other, and strangers all the same.
APART = [{"thesis", "article"}, {"thesis", "sweep"}, {"article", "sweep"}]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


def imports(path: Path) -> set[str]:
    """Names that a file imports, anywhere in it: modules, and what it takes of them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def files_imported(path: Path) -> set[Path]:
    """The files of this package that a file imports, but for packages on the way to them."""
    return {file for name in imports(path) if (file := file_of(name)) and file != path}


def room_of(path: Path) -> str:
    """The package of a file, or its name if it is at the top."""
    return path.relative_to(PACKAGE).parts[0]


def test_the_levels_name_every_room():
    rooms = {p.parent.name for p in PACKAGE.glob("*/__init__.py")} | {"cli.py", "__main__.py"}
    assert set(LEVEL) == rooms


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_follow_the_layout(path):
    inside = path.relative_to(SOURCE)
    where = Path(*inside.parts[1:]).as_posix()
    for name in imports(path):
        if (library := name.partition(".")[0]) in DOORS and inside.parts[0] == "rewire":
            assert any(where.startswith(door) for door in DOORS[library]), (where, name)
    if inside.parts[0] == "hydra_plugins":
        return  # it may name what it hands on to
    own = room_of(path)
    for file in files_imported(path):
        other = room_of(file)
        if own == other or other not in LEVEL:
            continue
        assert own in LEVEL, f"{where} is at the bottom and imports {other}"
        assert LEVEL[other] <= LEVEL[own], (where, other)
        assert {own, other} not in APART, (where, other)


def test_no_circle_of_files():
    files = {path: files_imported(path) for path in FILES if path.name != "__init__.py"}
    order = graphlib.TopologicalSorter(files)
    order.prepare()  # raises CycleError with the circle


def test_no_circle_of_rooms():
    rooms: dict[str, set[str]] = {}
    for path in FILES:
        if path.is_relative_to(PACKAGE):
            rooms.setdefault(room_of(path), set()).update(
                room for file in files_imported(path) if (room := room_of(file)) in LEVEL
            )
    for room, others in rooms.items():
        others.discard(room)
    graphlib.TopologicalSorter(rooms).prepare()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_modules_stay_short_and_say_what_they_are(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert not text or ast.get_docstring(ast.parse(text)), "module docstring"


NAMED = re.compile(r"[\w/.*-]*test_[\w*]+\.py")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_tests_that_a_document_names_are_there(path):
    for name in NAMED.findall(path.read_text()):
        pattern = name if name.startswith("tests/") else f"tests/**/{name}"
        assert list(ROOT.glob(pattern)), f"{path.name} names {name}"
