"""The schema of a document's configuration, for the objects that it names."""

from __future__ import annotations

import copy
import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field

from rewire.errors import InputError
from rewire.options import Fault, Section, children, faults, refused, section
from rewire.pipeline.paths import roots
from rewire.registry import DATASETS, OPEN, Registry, extension_folder

DATA = "data"


class Unjudged(Section):
    """The options of something that does not exist."""

    model_config = ConfigDict(extra="allow")


def base_of(document: str) -> type[Section]:
    """What a document's configuration has whatever is chosen."""
    return importlib.import_module(f"rewire.{document}.configuration").Configuration


def schema_of(document: str, config: Mapping[str, Any] | None = None) -> type[Section]:
    """The options of a configuration by the names that it has; without it, of all names."""
    names = None if config is None else tuple((group, _name(config, group)) for group in OPEN)
    return _schema_of(document, names, extension_folder())


@functools.lru_cache(maxsize=64)  # a sweep asks for every job, and most of them name the same
def _schema_of(
    document: str, names: tuple[tuple[str, str], ...] | None, extensions: Path | None
) -> type[Section]:
    base, chosen = base_of(document), dict(names or ())
    groups = {group: OPEN[group] for group in OPEN if group in base.model_fields and group != DATA}
    fields = {
        group: options_of(registry, chosen.get(group), base.model_fields[group].annotation)
        for group, registry in groups.items()
    }
    data: Any = base.model_fields[DATA].annotation
    dataset = copy.copy(data.model_fields["dataset"])
    dataset.annotation = Literal[tuple(datasets(document))]
    fields[DATA] = section(data.__name__, {"dataset": dataset}, base=data)
    return section(base.__name__, fields, base=base)


def _name(config: Mapping[str, Any], group: str) -> str:
    """What a configuration names in a group; no name at all where that is none."""
    chosen = config.get(group)
    name = chosen.get("name") if isinstance(chosen, Mapping) else None
    return name if isinstance(name, str) else ""


def options_of(registry: Registry, name: str | None, base: Any) -> type[Section]:
    """The section of a group: its `name`, and the options of what has it; None is all of them."""
    names = sorted([*registry, *registry.others])
    named = {"name": Annotated[Literal[tuple(names)], Field(description=f"of the {registry.kind}")]}
    title = registry.table.capitalize()
    if name is not None and name not in names:
        return section(title, named, base=Unjudged)
    if name is not None:
        known = {} if name in registry.others else registry.options(name)
        return section(
            title, named | {o: described(w, w.help) for o, w in known.items()}, base=base
        )
    known = {one: registry.options(one) for one in registry}
    found = {
        option: (described(what, about(option, known)), what.default)
        for options in known.values()
        for option, what in options.items()
    }
    return section(title, named | found, base=base)


def about(option: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    """What an option means, and for which names, where not all mean the same by it."""
    texts: dict[str, list[str]] = {}
    for name, options in known.items():
        if option in options:
            texts.setdefault(options[option].help, []).append(name)
    if [len(names) for names in texts.values()] == [len(known)]:
        return next(iter(texts))
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in texts.items())


def described(option: Any, text: str) -> Any:
    """The type of a declared option, with a sentence."""
    return Annotated[option.kind, Field(description=text)]


def datasets(document: str) -> list[str]:
    """The data sets that a document's files in conf/DOCUMENT/data name, and that are registered."""
    files = [file for root in roots(document) for file in Path(root, DATA).glob("*.yaml")]
    found = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    return sorted({values.get("dataset", "cifar10") for values in found} & set(DATASETS))


def entry(kind: Any, name: str) -> Any:
    """The type of one name in a section; None if there is none."""
    beside = children(kind) or {}
    return beside.get(name, beside.get("*"))


def typed(document: str, config: Mapping[str, Any]) -> Any:
    """A plain resolved configuration as an object of the document's `Configuration`.

    Raises:
        InputError: names every option that is refused, unknown or missing.
    """
    schema = schema_of(document, config)
    if found := list(faults(schema, config)):
        raise InputError(" ".join(map(line, found)))
    return schema.model_validate(config)


def line(fault: Fault) -> str:
    """What is wrong with one option."""
    option = ".".join(fault.path)
    if fault.kind == "unknown":
        return f"unknown option '{option}'."
    if fault.kind == "missing":
        return f"{option} is missing. Allowed: {fault.allowed}."
    return refused(fault)
