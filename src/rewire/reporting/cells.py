"""A filled table: cells with their seeds, intervals and verdicts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rewire.reporting.published import TableSpec

WITHIN = "within tolerance"
DIFFERS = "differs"
NOT_COMPARABLE = "not comparable"
NOT_RUN = "not run"
NO_PUBLISHED = "no published value"
VERDICTS = (WITHIN, DIFFERS, NOT_COMPARABLE, NOT_RUN, NO_PUBLISHED)

# The only profile that trains and evaluates as the documents did.
COMPARABLE_PROFILE = "paper"


@dataclass(frozen=True)
class Cell:
    """One number of a table beside its published value.

    Attributes:
        row: label of the row.
        column: header of the column.
        ours: mean over seeds in the table's unit, None if nothing was run.
        published: the published value, None if there is none.
        n: number of seeds.
        ci95: (low, high), None where no interval can be given.
        verdict: one of `VERDICTS`.
        difference: ours - published, None if either is missing.
        interval: what `ci95` varies over: "seeds" (Student-t), "images" (Wilson) or None.
    """

    row: str
    column: str
    ours: float | None
    published: float | None
    n: int
    ci95: tuple[float, float] | None
    verdict: str
    difference: float | None
    interval: str | None


@dataclass(frozen=True)
class Table:
    """A filled table; `cells` run row by row in the order of the specification."""

    spec: TableSpec
    profile: str
    note: str
    cells: tuple[Cell, ...]

    def rows(self) -> list[tuple[Cell, ...]]:
        """The cells of every row."""
        width = len(self.spec.columns)
        return [self.cells[i : i + width] for i in range(0, len(self.cells), width)]

    def as_json(self) -> dict[str, Any]:
        """The plain dictionary that is written as NAME.json."""
        return {
            "table": self.spec.name,
            "profile": self.profile,
            "cells": [
                {**asdict(cell), "ci95": list(cell.ci95) if cell.ci95 else None}
                for cell in self.cells
            ],
        }
