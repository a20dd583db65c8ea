"""What the thesis's stages measure, as their metrics.json hold it; read without importing torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from rewire.evaluation.findings import Checks, Flag
from rewire.evaluation.statistics import Accuracy
from rewire.record import Record
from rewire.structure.report import StructureReport
from rewire.training.metrics import SparseMetrics


class Training(SparseMetrics):
    """Of stage `train`."""

    structure: StructureReport


class Pruning(Record):
    """Of stage `prune`: connections that were removed per layer, and those that there were.

    After a move into other places there may be as many as before.
    """

    removed: dict[str, int]
    removed_total: int
    connected_before: int
    connected_after: int
    reestimated_batchnorm: bool


class Withstood(Record):
    """Accuracies of one network, the steps of the attack, and attack → images it fooled first."""

    clean: Accuracy
    robust: Accuracy
    steps_run: int
    fooled_by: dict[str, int]


class Evaluation(Record):
    """Of stage `evaluate`; `attack` is its configuration. A foreign network may not be pruned."""

    trained: Withstood
    pruned: Withstood | None = None
    attack: dict[str, Any] = Field(default_factory=dict)


class Structure(Record):
    """Of stage `structure`."""

    trained: StructureReport
    pruned: StructureReport | None = None


class Examination(Record):
    """Of stage `audit`: its images, those that are correct without and under the attack."""

    images: int
    attack: dict[str, Any]
    clean: int
    robust: int
    checks: Checks
    flags: list[Flag]
