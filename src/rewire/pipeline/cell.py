"""One cell at one stage: what is asked for, what it reads, and what decides its result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from omegaconf import DictConfig, OmegaConf

from rewire.errors import InputError
from rewire.identity import decisive
from rewire.models.artifact import check_listed
from rewire.pipeline.common import Common
from rewire.pipeline.document import SELECTIONS, WEIGHTS
from rewire.pipeline.documents import document_of, module_of
from rewire.pipeline.foreign import FOREIGN, foreign_of, groups_of
from rewire.pipeline.made import arguments_of, command, hashes, is_current
from rewire.pipeline.names import cell_of, own_folder, source_folder
from rewire.pipeline.partial_results import kept_folder
from rewire.pipeline.schema import typed
from rewire.sources import code_of
from rewire.tracking import NullTracker, Tracker

VARIANTS = {"trained": "train", "pruned": "prune"}  # variant of a network → stage that made it
ARTIFACTS = {"trained": "weights", "pruned": "pruned"}  # … → what tracking calls its file
C = TypeVar("C", bound=Common)


@dataclass(frozen=True)
class Cell(Generic[C]):
    """One cell at one stage.

    Attributes:
        stage: its name.
        plain: the resolved configuration as it was composed; of it are names, records and hashes.
        overrides: what the command line changed.
        inputs: hashes of what is read; known once the stage runs.
        tracker: of the stage's run.
    """

    stage: str
    plain: Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    inputs: Mapping[str, str | None] = field(default_factory=dict)
    tracker: Tracker = field(default_factory=NullTracker)

    @classmethod
    def of(cls, stage: str, config: DictConfig, overrides: Iterable[str]) -> Cell[C]:
        """The cell that a composed configuration names."""
        plain: Any = OmegaConf.to_container(config, resolve=True)
        return cls(stage, plain, tuple(overrides))

    @cached_property
    def config(self) -> C:
        """The configuration, typed; raises `InputError` for a value that is not allowed."""
        return typed(document_of(self.stage).name, self.plain)

    @cached_property
    def folder(self) -> Path:
        """Where its result goes."""
        return own_folder(self.plain, stage=self.stage, overrides=self.overrides)

    @property
    def name(self) -> str:
        """What its folder is called by this version."""
        return cell_of(self.plain, stage=self.stage, overrides=self.overrides)

    @property
    def kept(self) -> Path:
        """Folder of what a stopped run goes on from."""
        return kept_folder(self.folder)

    @property
    def code(self) -> dict[str, str]:
        """File → hash of the code behind the stage."""
        return code_of(module_of(self.stage))

    @property
    def foreign(self) -> Path | None:
        """The network from elsewhere that stands in the place of the trained one."""
        return foreign_of(self.plain)

    def at(self, stage: str, **changes: Any) -> Cell[Any]:
        """The same cell at another stage, or the one with another seed, or name in a group."""
        named = {
            key: {**group, "name": value}
            if isinstance(group := self.plain[key], Mapping)
            else value
            for key, value in changes.items()
        }
        return replace(self, stage=stage, plain={**self.plain, **named}, inputs={})

    def earlier(self, stage: str) -> Path:
        """Folder in which an earlier stage left its result for the same cell."""
        return source_folder(self.plain, stage=stage, overrides=self.overrides)

    def sources(self) -> dict[str, Path]:
        """Earlier stage → the file of the same cell that is read.

        A foreign network stands in the place of the trained one.
        """
        inputs = dict(document_of(self.stage).stages[self.stage].inputs)
        if self.foreign is not None:
            del inputs["train"]
        elif "train" in inputs:
            inputs["train"] = SELECTIONS[self.plain["selection"]]
        found = {name: self.earlier(name) / file for name, file in inputs.items()}
        return found if self.foreign is None else {FOREIGN: self.foreign, **found}

    def read(self) -> dict[str, str | None]:
        """Hashes of the files that are read: a re-trained network makes its result outdated."""
        return hashes(self.sources())

    def trained(self) -> Path:
        """File of the network of the configured epoch of the training."""
        return self.earlier(VARIANTS["trained"]) / SELECTIONS[self.plain["selection"]]

    def networks(self) -> dict[str, Path]:
        """Variant → file of the network: of the configured epoch of the training, and pruned.

        Of a foreign network: that file, and pruned if it was pruned.
        """
        pruned = self.earlier(VARIANTS["pruned"]) / WEIGHTS
        if self.foreign:
            return {"trained": self.foreign} | ({"pruned": pruned} if pruned.is_file() else {})
        return {"trained": self.trained(), "pruned": pruned}

    def lineage(self, sources: Mapping[str, Path]) -> list[str]:
        """Tracked artifacts that these networks (variant → file) are; a foreign file is none."""
        own = {v: path for v, path in sources.items() if path != self.foreign}
        return [f"{ARTIFACTS[variant]}-{path.parent.name}" for variant, path in own.items()]

    def deciding(self) -> dict[str, Any]:
        """The part of the configuration that decides the result; no paths."""
        keys = list(groups_of(document_of(self.stage).stages[self.stage], self.plain))
        if self.foreign is None:
            keys += ["sparsity", "seed"]
        chosen = {key: self.plain[key] for key in keys if key in self.plain}
        chosen["data"] = {key: value for key, value in chosen["data"].items() if key != "root"}
        return chosen

    def decided(self) -> dict[str, Any]:
        """All that decides the result, but for the code."""
        return self.deciding() | {"inputs": dict(self.inputs)}

    def pieces(self, **more: Any) -> dict[str, Any]:
        """All that decides the pieces of a running stage: options, inputs, code, and `more`."""
        made_of = {"inputs": dict(self.inputs), "code": self.code}
        return decisive(self.deciding()) | made_of | more

    def state_of(self) -> dict[str, Any]:
        """What a training's state must be of, to go on from it."""
        return {**self.deciding(), "data": self.plain["data"], "code": self.code}

    def check_sources(self) -> None:
        """Refuse what earlier stages made from other results than those that are there.

        Raises:
            InputError: names the folder, and the command that makes it anew; or a damaged file.
        """
        sources = self.sources()
        for file in sources.values():
            if file.is_file():
                check_listed(file)
        for name, file in sources.items():
            earlier = None if name == FOREIGN else self.at(name)
            made_from = earlier.sources() if earlier else {}
            if earlier and made_from and file.is_file() and not is_current(file.parent, made_from):
                earlier.check_sources()  # what is first in the chain is told first
                arguments = arguments_of(self.overrides, self.plain)
                again = command(name, arguments, output=self.plain["output"])
                raise InputError(
                    f"'{file.parent}' is outdated: it was not made from the "
                    f"{' and '.join(made_from)} that is there. Run it again first: {again}"
                )
