"""What a command line may hold, and the configuration that it describes, all mistakes at once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, Sweep, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict

import rewire.config.launcher  # noqa: F401 (registers hydra/launcher=isolated)
from rewire.config.check import (
    Findings,
    Sources,
    check_config,
    check_value,
    known,
    not_of_document,
    unknown_option,
)
from rewire.config.read import names_of
from rewire.errors import unknown_name
from rewire.options import children, shown
from rewire.pipeline.commands import quoted
from rewire.pipeline.documents import document_of
from rewire.pipeline.paths import SHARED, roots
from rewire.pipeline.schema import entry, schema_of

# Groups whose choices have a better name.
KINDS = {"rewire": "rewiring strategy", "prune": "pruning method"}
HYDRA = ("hydra.launcher", "hydra.sweeper", "hydra.mode", "hydra.verbose")
SWEEPS = ("-m", "--multirun")
SHOWS = ("--hydra-help", "--version", "--shell-completion", "-sc")  # whatever else is said
ONE_OF = {  # what a command line does, one at a time
    "--multirun": SWEEPS, "--run": ("--run", "-r"), "--cfg": ("--cfg", "-c"),
    "--info": ("--info", "-i"),
}  # fmt: skip
OTHERS = ("--help", "-h", "--resolve", "--package", "-p", *itertools.chain(*ONE_OF.values()))
# Flags that bring other configuration files, hence other code (`_target_`), or unpickle a file.
REFUSED = (
    "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--experimental-rerun",
)  # fmt: skip
PATHS = ("output", "data.root", "tracking.folder", "network")
MOST_VALUES = 10_000  # of one option in a sweep


@dataclass(frozen=True)
class Checked:
    """What a command line describes.

    Attributes:
        found: what is wrong or strange.
        config: of a single run (or its help) that needs nothing of Hydra but its composition; else
            None.
        overrides: what the user set, without Hydra's own settings.
        output: the folder in which Hydra will write its record of a sweep; else None.
    """

    found: Findings
    config: DictConfig | None
    overrides: list[str]
    output: str | None = None


def check_arguments(stage: str, arguments: Sequence[str], conf: Path) -> Checked:
    """Read, compose and check what the user typed; nothing is written.

    Args:
        stage: what is to run.
        arguments: the command line behind the program's name.
        conf: folder of all configuration files.
    """
    found = Findings()
    root = conf / document_of(stage).name
    flags = [argument for argument in arguments if argument.startswith("-")]
    if any(flag in SHOWS for flag in flags):
        return Checked(found, None, [])
    for flag in flags:
        name = flag.partition("=")[0]
        if name in REFUSED:
            found.error(f"'{flag}' is not taken: the configuration files are those in conf/.")
        elif name not in OTHERS:
            found.error(str(unknown_name("flag", name, SHOWS + OTHERS)))
    check_flags([flag.partition("=")[0] for flag in flags], found)
    texts = [a for a in arguments if not a.startswith("-")]
    if any(flag not in SWEEPS for flag in flags):  # --cfg, --info, ...: with values of their own
        texts = [text for text in texts if "=" in text or text.startswith("~")]
    sweep = any(flag in SWEEPS for flag in flags)
    read = Reader(stage, conf, root, found)
    overrides = [o for text in texts if (o := read.override(text, sweep=sweep)) is not None]
    firsts, others = read.split_values(overrides)
    composed = read.compose(firsts)
    if composed is not None:
        config, choices = composed
        told = tuple(o.key_or_group for o in overrides)
        sources = Sources(conf, root, choices, told)
        check_config(config, stage, sources, found)
        chosen = schema_of(root.name, names_of(config))
        for path, value in others:  # beside the first ones of a sweep
            schema = chosen if known(chosen, path) else read.schema
            check_value(path, value, schema, found, sources)
    alone = set(flags) <= {"--help", "-h"} and not any(o.is_hydra_override() for o in overrides)
    return Checked(
        found,
        config if composed and alone else None,
        texts,
        config.output if sweep and not found.errors else None,
    )


def check_flags(names: Sequence[str], found: Findings) -> None:
    """Report flags that do not go together."""
    asked = [one for one, forms in ONE_OF.items() if any(name in forms for name in names)]
    if len(asked) > 1:
        found.error(
            f"{' and '.join(asked)} do not go together. Allowed: one of {', '.join(ONE_OF)}."
        )
    if "--resolve" in names and not {"--cfg", "-c", "--help", "-h"} & set(names):
        found.error("--resolve shows nothing by itself. Allowed: --cfg job --resolve.")


def search_path(conf: Path, document: str = "") -> str:
    """Hydra's setting that groups which a document does not have itself are the shared ones."""
    folders = [conf / SHARED, *(f for f in roots(document, conf)[2:] if f.is_dir())]
    return f"hydra.searchpath=[{','.join(quoted(f'file://{folder}') for folder in folders)}]"


def with_home(argument: str) -> str:
    """`output=~/results` with the home folder in its place; any other argument as it is.

    Hydra does not read a bare ~, and writes its record of a sweep into a folder of that name.
    """
    key, equal, text = argument.partition("=")
    text = text.strip("'\"")
    if key not in PATHS or not text.startswith("~") or "," in text:
        return argument
    return f"{key}{equal}{quoted(os.path.expanduser(text))}"


def mixes_ranges(override: Override) -> bool:
    """Whether a list of values has one that stands for several itself, as in 0,range(5,7)."""
    value = override.value()
    return isinstance(value, ChoiceSweep) and any(isinstance(v, Sweep) for v in value.list)


class Reader:
    """Reads the overrides of one command line; reports to `found`."""

    def __init__(self, stage: str, conf: Path, root: Path, found: Findings) -> None:
        self.stage, self.conf, self.root, self.found = stage, conf, root, found
        self.schema = schema_of(root.name)

    def override(self, text: str, *, sweep: bool) -> Override | None:
        """The parsed override, None if it cannot be used."""
        if "_target_" in text:
            self.found.error(f"'{text}': no option may name code to run (_target_).")
            return None
        try:
            override = OverridesParser.create().parse_override(text)
        except (HydraException, RecursionError) as error:
            said = (str(error).splitlines() or ["empty"])[0]
            self.found.error(
                f"cannot read {shown(text)}: {said}. Allowed: option=value, e.g. seed=1; "
                "texts with other characters than letters, digits, / . and - are quoted."
            )
            return None
        if override.is_sweep_override() and not sweep:
            self.found.error(
                f"{shown(text)} has several values. Allowed: one, or all of them in a sweep by -m; "
                f"a text with a comma is quoted: \"{override.key_or_group}='...'\"."
            )
            return None
        if mixes_ranges(override):
            self.found.error(
                f"{shown(text)} has a range among other values. Allowed: a range alone, "
                "e.g. seed=range(0,3), or a list, e.g. seed=0,1,2."
            )
            return None
        if override.is_sweep_override() and not override.is_discrete_sweep():
            self.found.error(f"{shown(text)} has endless values. Allowed: a list, e.g. seed=0,1.")
            return None
        return override if self._is_known(override, sweep=sweep) else None

    def _is_known(self, override: Override, *, sweep: bool) -> bool:
        key = override.key_or_group
        before = len(self.found.errors)
        if override.package is not None:
            self.found.error(f"'{key}@{override.package}': packages are not taken. Allowed: {key}.")
        elif key == "profile.name":
            self.found.error(f"'{key}' is not taken: it names a folder of one scale's outputs.")
        elif override.is_hydra_override():
            if not key.startswith(("hydra/launcher", "hydra/sweeper", *HYDRA)):
                self.found.error(f"'{key}' is not taken. Allowed of Hydra: {', '.join(HYDRA)}.")
            elif key.startswith("hydra.launcher.") and not sweep:
                self.found.error(f"'{key}' is for sweeps. Allowed: with -m, or without it.")
        elif allowed := self._choices(key):
            for value in self._values(override):
                if not isinstance(value, str) or value not in allowed:
                    kind = KINDS.get(key, key)
                    name = value if isinstance(value, str) else shown(value)
                    self.found.error(str(unknown_name(kind, name, allowed)))
        elif line := not_of_document(key) if entry(self.schema, key) is None else None:
            self.found.error(line)
        elif not known(self.schema, key.split(".")):
            sources = Sources(self.conf, self.root, self._defaults())
            self.found.error(unknown_option(key, self.schema, sources))
        return len(self.found.errors) == before

    def _values(self, override: Override, transformer: Any = Transformer.identity) -> list[Any]:
        """Its value, or those of its sweep as `transformer` makes them; none for a deletion."""
        if not override.is_sweep_override():
            return [] if override.is_delete() else [override.value()]
        pattern = override.value()
        if isinstance(pattern, Glob):
            return pattern.filter(self._choices(override.key_or_group))
        values = list(itertools.islice(override.sweep_iterator(transformer), MOST_VALUES))
        return [Override._convert_value(value) for value in values]

    def _choices(self, group: str) -> list[str]:
        """The files of a configuration group of this document; none for anything else."""
        if (entry(self.schema, group) is None and group != "experiment") or "." in group:
            return []
        folders = [root / group for root in roots(self.root.name, self.conf)]
        return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})

    def _defaults(self) -> dict[str, str]:
        """Any file of every group: all have the same options but for a few."""
        groups = children(self.schema) or {}
        return {group: files[0] for group in groups if (files := self._choices(group))}

    def split_values(
        self, overrides: Iterable[Override]
    ) -> tuple[list[tuple[str, str]], list[tuple[list[str], Any]]]:
        """(key, override) with the first value of each, and (path, value) of all others."""
        firsts, others = [], []
        for override in overrides:
            key, text = override.key_or_group, str(override.input_line)
            if override.is_sweep_override():
                values = self._values(override, Transformer.str)
                if not values:
                    self.found.error(f"{shown(text)} has no value. Allowed: at least one.")
                    continue
                text = f"{override.get_key_element()}={values[0]}"
                others += [(key.split("."), value) for value in self._values(override)[1:]]
            firsts.append((key, text))
        return firsts, others

    def compose(
        self, overrides: list[tuple[str, str]]
    ) -> tuple[DictConfig, dict[str, str | None]] | None:
        """(configuration, choice by group), without overrides that do not fit: they are reported.

        None if that is impossible.
        """
        fixed = [search_path(self.conf, self.root.name), f"hydra.launcher.stage={self.stage}"]
        left, refused = list(overrides), []
        while True:
            try:
                with initialize_config_dir(str(self.root), version_base="1.3"):
                    texts = [text for _, text in left]
                    config = compose("config", [*texts, *fixed], return_hydra_config=True)
                break
            except Exception as error:  # Hydra raises all kinds for values that do not fit
                said = str(error)
            culprits = [pair for pair in left if pair[0] in said or pair[1] in said]
            if not culprits:
                self.found.error(f"the configuration cannot be composed: {said}")
                return None
            worst = max(culprits, key=lambda pair: len(pair[0]))
            left.remove(worst)
            refused.append((worst, said))
        choices = dict(config.hydra.runtime.choices)
        with open_dict(config):
            del config["hydra"]  # no part of the stage's values
        for (key, text), said in refused:
            self.found.error(self._misfit(key, text, said, choices))
        return config, choices

    def _misfit(self, key: str, text: str, said: str, choices: dict[str, str | None]) -> str:
        """A line about an override that Hydra refuses."""
        group = key.partition(".")[0]
        if "Could not override" in said and choices.get(group):
            file = Sources(self.conf, self.root, choices).file([group])
            return f"{shown(text)} does not fit: {group} '{choices[group]}' has no {key} ({file})."
        return f"{shown(text)} does not fit: {said}"
