"""All mistakes of a composed configuration at once; read without importing torch.

Every value is held against the table of its document (`thesis`, `article`), which is made of
`rules`; what several values say together is in `cross_checks`, what the command line itself may
hold in `command_line`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rewire.config.cross_checks import conflicts, remarks
from rewire.config.rules import Rule, Table, shown
from rewire.pipeline.document import Document
from rewire.pipeline.documents import document_of
from rewire.pipeline.dvc_yaml import profile_faults
from rewire.pipeline.paths import SHARED

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


def rules_of(document: Document) -> Table:
    """The tables for a document's configuration."""
    return table_of(document.name)


def table_of(name: str) -> Table:
    """The tables for the configuration of the document called `name`."""
    return importlib.import_module(f"rewire.config.{name}").TABLE


def entry(table: Table, name: str) -> Rule | Table | None:
    """What the table says about one name; None if nothing."""
    return table.get(name) or table.get(f"{name}?") or table.get("*")


def known(table: Rule | Table, path: Iterable[str]) -> bool:
    """Whether the tables have an option or section of this path."""
    here: Rule | Table | None = table
    for name in path:
        if isinstance(here, Rule):
            return True  # below it is a value that it judges as one
        here = entry(here, name)
        if here is None:
            return False
    return True


def names(table: Table, prefix: str = "") -> Iterator[str]:
    """All paths of the tables that have no free part."""
    for key, rule in table.items():
        if key == "*":
            continue
        path = prefix + key.rstrip("?")
        yield path
        if not isinstance(rule, Rule):
            yield from names(rule, f"{path}.")


def unknown_option(path: str, table: Table, sources: Sources) -> str:
    """A line about an option that does not exist: the nearest one, and those beside it."""
    section: Rule | Table | None = table
    parents: list[str] = []
    for name in path.split(".")[:-1]:
        below = entry(section, name)
        if below is None or isinstance(below, Rule):
            break
        section, parents = below, [*parents, name]
    beside = sorted(key.rstrip("?") for key in section if key != "*")
    own = path.split(".")[len(parents) :]
    near = difflib.get_close_matches(".".join(own), beside, n=1, cutoff=0.6)
    near = [".".join([*parents, name]) for name in near]
    near = near or difflib.get_close_matches(path, list(names(table)), n=1, cutoff=0.7)
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
        for root in (self.root, self.conf / SHARED):
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
        return path.relative_to(self.conf.parent).as_posix()


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


def read_numbers(config: DictConfig, table: Table) -> None:
    """Put what is meant in the place of 8/255 where a number is wanted, and of ~ in paths."""
    for key in config:
        rule = entry(table, str(key))
        try:
            value = config[key]
        except (OmegaConfBaseException, RecursionError):
            continue  # reported by `plain`
        if isinstance(rule, Rule):
            found = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            if (read := rule.read(found)) != found:
                config[key] = read
        elif rule is not None and isinstance(value, DictConfig):
            read_numbers(value, rule)


def check_values(
    config: Mapping[str, Any],
    table: Table,
    found: Findings,
    sources: Sources,
    path: tuple[str, ...] = (),
) -> None:
    """Report every value that its rule refuses, every unknown option and every missing one."""
    for key, value in config.items():
        here = [*path, key]
        dotted = ".".join(here)
        rule = entry(table, key)
        if value is UNRESOLVED:
            continue
        if key == "_target_":
            found.error(f"'{dotted}': no configuration may name code to run.")
        elif rule is None:
            found.error(
                not_of_document(here[0]) or unknown_option(dotted, root_table(sources), sources)
            )
        elif isinstance(rule, Rule):
            if not rule.fits(value):
                found.error(refusal(here, value, rule, sources))
        elif isinstance(value, dict):
            check_values(value, rule, found, sources, tuple(here))
        else:
            keys = ", ".join(name.rstrip("?") for name in rule)
            found.error(
                f"{dotted} is {shown(value)}. Allowed: a section with {keys}. {sources.of(here)}"
            )
    for key, rule in table.items():
        if key != "*" and not key.endswith("?") and key not in config:
            here = [*path, key]
            words = rule.allowed if isinstance(rule, Rule) else "a section"
            found.error(f"{'.'.join(here)} is missing. Allowed: {words}. See {sources.file(here)}.")


def refusal(path: list[str], value: Any, rule: Rule, sources: Sources) -> str:
    """A line about a value that its rule refuses."""
    dotted = ".".join(path)
    if fault := rule.fault(value):
        return f"{fault} It is in {dotted}. {sources.of(path)}"
    return f"{dotted} is {shown(value)}. Allowed: {rule.allowed}. {sources.of(path)}"


def root_table(sources: Sources) -> Table:
    """The tables of the document whose files these are."""
    return table_of(sources.root.name)


def not_of_document(group: str) -> str | None:
    """A line about groups of the first document in the second, which have a reason not to be."""
    if group == "rewire":
        return (
            "a rewiring strategy needs a sparse network, and those of this document are dense. "
            "Allowed: rewire for the stages train, prune, evaluate, structure and audit."
        )
    return None


def check_config(config: DictConfig, stage: str, sources: Sources, found: Findings) -> None:
    """Report everything that is wrong with a composed configuration, whose numbers are read."""
    document = document_of(stage)
    read_numbers(config, rules_of(document))
    values = plain(config, found)
    check_profile(document, sources, found)
    check_values(values, rules_of(document), found, sources)
    if not found.errors:
        for line in conflicts(values, stage, document.stages[stage].groups):
            found.error(line)
        found.warnings += remarks(values, stage)


def check_profile(document: Document, sources: Sources, found: Findings) -> None:
    """Report what is wrong with the chosen profile's file; its values are checked as composed."""
    path = sources.root / "profile" / f"{sources.choices.get('profile')}.yaml"
    if path.is_file():
        profile = OmegaConf.to_container(OmegaConf.load(path))
        for fault in profile_faults(profile, document, sources.conf.parent):
            found.error(f"{path.relative_to(sources.conf.parent).as_posix()} {fault}")
