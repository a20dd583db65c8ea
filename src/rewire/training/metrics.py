"""What a training measured, as its metrics.json holds it; read without importing torch."""

from __future__ import annotations

from pydantic import Field

from rewire.evaluation.statistics import Accuracy
from rewire.record import Record

Row = dict[str, int | float]
"""A row of a history: its columns depend on objective, layers and what was held out."""


class Selected(Record):
    """The network of one epoch."""

    epoch: int
    clean: Accuracy


class SparseMetrics(Record):
    """Of a sparse network.

    Attributes:
        clean: on the test images, after the last epoch.
        budget, connected: K, and the weights that are not zero.
        growth: re-connections over the whole training.
        surplus_steps, largest_surplus: steps with more than K connections, and by how many.
        steps: of the optimiser.
        selections: name → network of the epoch that it chose; older results have none.
        precision: of the training.
        engine: "dense", "compiled" or "sparse"; older results do not say.
    """

    clean: Accuracy
    budget: int
    connected: int
    growth: int = Field(alias="births")
    surplus_steps: int
    largest_surplus: int
    steps: int
    selections: dict[str, Selected] = Field(default_factory=dict)
    precision: str
    engine: str | None = None


class DenseMetrics(Record):
    """Of a dense network: accuracy on test and, if there are any, held-out images."""

    clean: Accuracy
    validation: Accuracy | None = None
    steps: int
    selection: str
    precision: str
