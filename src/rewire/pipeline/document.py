"""What a document is: its stages, with all that they read, write and depend on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rewire.files import MANIFEST, WEIGHTS

METRICS, HISTORY = "metrics.json", "history.csv"
LAST = "last"
# Epoch that counts → file of the network that a training leaves of it (`training.selection`).
SELECTIONS = {
    LAST: WEIGHTS,
    "best_validation": "best_validation.safetensors",
    "best_test": "best_test.safetensors",
}
CONFIG = "config.yaml"  # what decided a result, as the manifest vouches for it
RECORD = (CONFIG, MANIFEST)
SURROGATES = "surrogates.json"
LEDGER = "trained.npz"  # per image, of the trained network: what stage `audit` reads
NOISES = {variant: f"noise_{variant}.safetensors" for variant in ("G1", "G2")}
NOISE = NOISES["G1"]  # what most stages of the article read


def clean_ledger(variant: str) -> str:
    """File of a variant's verdicts on all test images; VARIANT.npz has the attacked ones alone."""
    return f"{variant}_clean.npz"


@dataclass(frozen=True)
class Stage:
    """What decides a stage's result, and what it leaves; `dvc.yaml` is written from it.

    Its code is what its module imports (`Document.module`, `rewire.sources`).

    Attributes:
        groups: configuration groups that take part, directly or through earlier stages.
        inputs: earlier stage → the file of the same cell that is read from it.
        outs: what it writes into its folder and the pipeline keeps.
        reads: what else it reads below OUTPUT/PROFILE; `{cell}` is its own cell, `${item...}` a
            value of its axes.
        params: keys of `params.yaml` that it reads.
        cells: the list in `params.yaml` of the cells that the pipeline runs.
        axes: what varies in the pipeline, of `Document.lists`; None for all.
        foreign: groups that take part where a network from elsewhere stands in the place of the
            trained one (`rewire.pipeline.foreign`); none if the stage takes no such network.
    """

    groups: tuple[str, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)
    outs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    cells: str = "cells"
    axes: tuple[str, ...] | None = None
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)  # there is one of each
class Document:
    """The stages of one document and the names of its cells.

    Attributes:
        name: of its package, its folder below `conf` and its part in `params.yaml`.
        place: in the order of the pipeline, from 1.
        lists: axis of the pipeline → list in that part; the cells are those of each stage.
        axes: configuration keys that are in a cell's name anyway.
        base: name of a cell's standard variant from a composed configuration.
        family: runs that are compared with each other when tracked.
        stages: by name; the first one trains.
        names: of the cells: a pattern with the parts `base`, `seed` and, of variants, `rest`.
        network: configuration group with the network's width.
        kind: what a cell trains, as a word: such cells of one folder have one scale.
        curves: column of a training's history → what it is, in words and its unit.
        time: the column that counts how long was trained.
        scales: keys of a profile's own section that other options refer to.
    """

    name: str
    place: int
    lists: Mapping[str, str]
    axes: tuple[str, ...]
    base: Callable[[Mapping[str, Any]], str]
    family: Callable[[Mapping[str, Any]], str]
    stages: Mapping[str, Stage]
    names: re.Pattern[str]
    network: str
    kind: Callable[[Mapping[str, Any]], str]
    curves: Mapping[str, str]
    time: str
    scales: tuple[str, ...] = ()

    @property
    def with_results(self) -> tuple[str, ...]:
        """The stages that leave a result, with its manifest, for every cell."""
        return tuple(name for name, stage in self.stages.items() if MANIFEST in stage.outs)

    def short(self, stage: str) -> str:
        """A stage's name on the command line and of its module: `curves` of `article_curves`."""
        return stage.removeprefix(f"{self.name}_")

    def module(self, stage: str) -> str:
        """The dotted name of the module with the `run` of a stage."""
        return f"rewire.{self.name}.{self.short(stage)}"
