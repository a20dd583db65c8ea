"""Dependencies point one way, and each moving library has one door."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "rewire"
FILES = sorted(SOURCE.rglob("*.py"))

# Who may import a library: packages or files below src/rewire.
DOORS = {
    "hydra": {"stages"},
    "omegaconf": {"stages"},
    "pytorch_lightning": {"training"},
    "wandb": {"tracking"},
    "torchattacks": {"attacks/adapters"},
    "foolbox": {"attacks/adapters"},
    "matplotlib": {"structure", "reporting"},
    "torchvision": {"data", "bench/augmentation.py", "_torchvision_hook.py"},
}
# What a package may import from this project, beside the modules at its root.
BELOW = {
    "data": set(),
    "models": set(),
    "tracking": set(),
    "connectivity": {"models"},
    "engine": {"models"},
    "structure": set(),
    "pruning": {"structure"},
    "attacks": {"models"},
    "objectives": {"attacks"},
    "evaluation": {"attacks", "data"},
    "reporting": {"evaluation", "structure"},
    "training": {
        "attacks", "connectivity", "data", "engine", "evaluation", "models", "objectives",
        "structure", "tracking",
    },
    "stages": None,
    "bench": None,
}  # fmt: skip


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_follow_the_layout(path):
    where = path.relative_to(SOURCE).as_posix()
    package = where.split("/")[0]
    for name in imports(path):
        library, *rest = name.split(".")
        if library in DOORS:
            assert any(where.startswith(door) for door in DOORS[library]), (where, name)
        if library == "rewire" and rest and rest[0] in BELOW and package in BELOW:
            allowed = BELOW[package]
            assert allowed is None or rest[0] in {package} | allowed, (where, name)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_modules_stay_short_and_say_what_they_are(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert not text or ast.get_docstring(ast.parse(text)), "module docstring"
