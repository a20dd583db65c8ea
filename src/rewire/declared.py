"""What a file registers, and with which options: read from its text, without importing it.

    @STRATEGIES.register("vector")
    def vector(theta, layers, demands, *, generator, gamma: Gamma = 2.0): ...

The keyword arguments with a default are the options, those of a dataclass its fields with one.
Their types are those of `rewire.options`, their sentences those of the docstring's `Args:`. So the
command line knows all options at once, without PyTorch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from rewire import options
from rewire.errors import InputError

WORDS = {**vars(options), "Annotated": Annotated, "Any": Any, "Field": Field, "Literal": Literal}
NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Option:
    """One option: its type, what it is if nobody says, and a sentence about it."""

    kind: Any
    default: Any
    help: str


@dataclass(frozen=True)
class Declared:
    """What a file registers under a name."""

    name: str
    path: Path
    options: dict[str, Option]
    help: str


def declared_in(path: Path, table: str, given: Collection[str]) -> Iterator[Declared]:
    """What a file registers in the registry of this name; it is not imported.

    Args:
        given: arguments with a default that are no options.

    Raises:
        InputError: for a name that cannot be part of a cell's, or an option that cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    if f"@{table}.register(" not in text:
        return
    for node in ast.parse(text, filename=str(path)).body:
        for mark in getattr(node, "decorator_list", ()):
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == f"{table}.register":
                name = ast.literal_eval(mark.args[0])
                if not isinstance(name, str) or NAME.fullmatch(name) is None:
                    raise InputError(
                        f"'{path}' registers {name!r}. Allowed: lower-case letters, digits and _, "
                        "the first a letter."
                    )
                yield _read(name, path, node, given)


def definition(path: Path, name: str, given: Collection[str]) -> Declared:
    """The options of the function or class `name` of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    (node,) = (node for node in tree.body if getattr(node, "name", None) == name)
    return _read(name, path, node, given)


def _read(name: str, path: Path, node: Any, given: Collection[str]) -> Declared:
    text = ast.get_docstring(node) or ""
    sentences = arguments_of(text)
    found = {}
    for option, kind, default in _with_defaults(node):
        if option in given:
            continue
        try:
            kind, default = (eval(ast.unparse(part), dict(WORDS)) for part in (kind, default))
        except Exception as error:  # whatever stands there
            raise InputError(
                f"'{path}': the option '{option}' of '{name}' cannot be read: {error}. Allowed: a "
                "type of rewire.options or of Python, and a plain value."
            ) from error
        found[option] = Option(kind, default, sentences.get(option, ""))
    return Declared(name, path, found, " ".join(text.partition("\n\n")[0].split()))


def _with_defaults(node: Any) -> Iterator[tuple[str, ast.expr, ast.expr]]:
    """(name, type, default) of what has all of them."""
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and part.value is not None:
                yield ast.unparse(part.target), part.annotation, part.value
        return
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if default is not None and argument.annotation is not None:
            yield argument.arg, argument.annotation, default


def arguments_of(docstring: str) -> dict[str, str]:
    """Argument → what the section `Args:` (or `Attributes:`) of a docstring says of it."""
    section = re.search(r"^(?:Args|Attributes):\n((?:[ ]+.*\n?|\n)*)", docstring, re.MULTILINE)
    entry = re.compile(r"^    (\w[\w, ]*):((?:.*\n?)(?:^     +.*\n?)*)", re.MULTILINE)
    entries = entry.findall(section[1] if section else "")
    return {
        name: " ".join(text.split()).removesuffix(".")
        for names, text in entries
        for name in re.split(r", *", names.strip())
    }
