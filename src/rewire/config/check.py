"""All mistakes of a composed configuration at once; read without importing torch.

Every value is held against the schema of its document (`schema`); what several values say together
is in `cross_checks`, what the command line itself may hold in `command_line`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rewire.config.cross_checks import conflicts, remarks
from rewire.config.read import read_numbers
from rewire.options import Fault, children, faults, reader, refused, section
from rewire.pipeline.document import Document
from rewire.pipeline.documents import document_of
from rewire.pipeline.dvc_yaml import profile_faults
from rewire.pipeline.paths import roots
from rewire.pipeline.schema import entry, schema_of

LONGEST_LINE = 600


@dataclass
class Findings:
    """What is wrong (`errors`) and what is strange (`warnings`), a line each."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def error(self, text: str) -> None:
        """Add a line, once."""
        line = one_line(text)
        if line not in self.errors:
            self.errors.append(line)


def one_line(text: str) -> str:
    """`text` without line breaks and control characters, cut if it is very long."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= LONGEST_LINE else text[:LONGEST_LINE] + "…"


def known(kind: Any, path: Iterable[str]) -> bool:
    """Whether a schema has an option or section of this path."""
    for name in path:
        if children(kind) is None:
            return True  # below it is a value that is judged as one
        if (kind := entry(kind, name)) is None:
            return False
    return True


def names(kind: Any, prefix: str = "") -> Iterator[str]:
    """All paths of a schema that have no free part."""
    for key, below in (children(kind) or {}).items():
        if key != "*":
            yield prefix + key
            yield from names(below, f"{prefix}{key}.")


def unknown_option(path: str, schema: Any, sources: Sources) -> str:
    """A line about an option that does not exist: the nearest one, and those beside it."""
    section = schema
    parents: list[str] = []
    for name in path.split(".")[:-1]:
        below = entry(section, name)
        if below is None or children(below) is None:
            break
        section, parents = below, [*parents, name]
    beside = sorted(key for key in children(section) or {} if key != "*")
    own = path.split(".")[len(parents) :]
    near = difflib.get_close_matches(".".join(own), beside, n=1, cutoff=0.6)
    near = [".".join([*parents, name]) for name in near]
    near = near or difflib.get_close_matches(path, list(names(schema)), n=1, cutoff=0.7)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    place = f" in {'.'.join(parents)} ({sources.file(parents)})" if parents else ""
    allowed = ", ".join(beside + ["experiment"] * (not parents)) or "any name"
    return f"unknown option '{path}'.{hint} Allowed{place}: {allowed}."


@dataclass(frozen=True)
class Sources:
    """Where values come from.

    Attributes:
        conf: folder of all configuration files.
        root: folder of the document's.
        choices: chosen file by group.
        told: paths of the options on the command line.
    """

    conf: Path
    root: Path
    choices: Mapping[str, str | None]
    told: tuple[str, ...] = ()

    def file(self, path: list[str]) -> str:
        """The configuration file that has the option, as `conf/...`."""
        group, choice = path[0], self.choices.get(path[0])
        for root in roots(self.root.name, self.conf):
            if choice and (root / group / f"{choice}.yaml").is_file():
                return self._shown(root / group / f"{choice}.yaml")
        return self._shown(self.root / "config.yaml")

    def of(self, path: list[str]) -> str:
        """A sentence: where the value was set, and in which file its meaning is written."""
        dotted = ".".join(path)
        if any(dotted == told or dotted.startswith(f"{told}.") for told in self.told):
            return f"Set on the command line, explained in {self.file(path)}."
        return f"Set in {self._setter(path)}."

    def _setter(self, path: list[str]) -> str:
        """The last file that has a say: experiment, profile, then the group's own."""
        for group in ("experiment", "profile"):
            file = self.root / group / f"{self.choices.get(group)}.yaml"
            if file.is_file():
                node: Any = OmegaConf.load(file)
                for name in path:
                    node = node._get_node(name) if isinstance(node, DictConfig) else None
                if node is not None:
                    return self._shown(file)
        return self.file(path)

    def _shown(self, path: Path) -> str:
        own = path.is_relative_to(self.conf.parent)
        return (path.relative_to(self.conf.parent) if own else path).as_posix()


def plain(node: DictConfig, found: Findings, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """The resolved configuration without what cannot be resolved, which is reported."""
    values: dict[str, Any] = {}
    for key in node:
        here = (*path, str(key))
        try:
            value = node[key]
            if isinstance(value, DictConfig):
                values[str(key)] = plain(value, found, here)
            elif OmegaConf.is_config(value):
                values[str(key)] = OmegaConf.to_container(
                    value, resolve=True, throw_on_missing=True
                )
            else:
                values[str(key)] = value
        except OmegaConfBaseException as error:
            values[str(key)] = UNRESOLVED
            said = str(error).splitlines()[0]
            found.error(f"{'.'.join(here)} cannot be resolved: {said}.")
        except RecursionError:
            values[str(key)] = UNRESOLVED
            found.error(f"{'.'.join(here)} cannot be resolved: it refers to itself.")
    return values


UNRESOLVED = object()


def check_values(config: Mapping[str, Any], schema: Any, found: Findings, sources: Sources) -> None:
    """Report every value that is refused, every unknown option and every missing one."""
    for fault in faults(schema, config):
        path, dotted = list(fault.path), ".".join(fault.path)
        if fault.value is UNRESOLVED:
            continue
        if path[-1] == "_target_":
            found.error(f"'{dotted}': no configuration may name code to run.")
        elif fault.kind == "unknown":
            line = not_of_document(path[0]) if len(path) == 1 else None
            found.error(line or unknown_option(dotted, schema, sources))
        elif fault.kind == "missing":
            file = sources.file(path)
            found.error(f"{dotted} is missing. Allowed: {fault.allowed}. See {file}.")
        else:
            found.error(refusal(fault, sources))


def check_value(
    path: list[str], value: Any, schema: Any, found: Findings, sources: Sources
) -> None:
    """Report one value that is refused, whatever the others are."""
    kind = schema
    for name in path:
        kind = entry(kind, name) if kind is not None else None
    if kind is not None and children(kind) is None and "${" not in str(value):
        one = section("One", {path[-1]: kind})
        for fault in faults(one, {path[-1]: reader(kind)(value)}):
            found.error(refusal(replace(fault, path=tuple(path)), sources))


def refusal(fault: Fault, sources: Sources) -> str:
    """A line about a value that is refused, and where it was set."""
    return f"{refused(fault)} {sources.of(list(fault.path))}"


def not_of_document(group: str) -> str | None:
    """A line about groups of the thesis in the article, which have a reason not to be."""
    if group == "rewire":
        return (
            "a rewiring strategy needs a sparse network, and those of this document are dense. "
            "Allowed: rewire for the stages train, prune, evaluate, structure and audit."
        )
    return None


def check_config(config: DictConfig, stage: str, sources: Sources, found: Findings) -> None:
    """Report everything that is wrong with a composed configuration, whose numbers are read."""
    document = document_of(stage)
    gone = read_numbers(config, document.name)
    values = plain(config, found)
    schema = schema_of(document.name, values)
    for option in set(gone) & set(sources.told):
        found.error(unknown_option(option, schema, sources))
    check_profile(document, sources, found)
    check_values(values, schema, found, sources)
    if not found.errors:
        for line in conflicts(values, stage, document.stages[stage].groups):
            found.error(line)
        found.warnings += remarks(values, stage)


def check_profile(document: Document, sources: Sources, found: Findings) -> None:
    """Report what is wrong with the chosen profile's file; its values are checked as composed."""
    path = sources.root / "profile" / f"{sources.choices.get('profile')}.yaml"
    if path.is_file():
        profile = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path)))
        for fault in profile_faults(profile, document, sources.conf.parent):
            found.error(f"{path.relative_to(sources.conf.parent).as_posix()} {fault}")
