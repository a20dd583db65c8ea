"""A filled table: cells with their seeds, intervals and verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any

from rewire.reporting.table_spec import TableSpec

WITHIN = "within tolerance"
DIFFERS = "differs"
NOT_COMPARABLE = "not comparable"
NOT_RUN = "not run"
OUTDATED = "outdated"
NO_PUBLISHED = "no published value"
VERDICTS = (WITHIN, DIFFERS, NOT_COMPARABLE, NOT_RUN, OUTDATED, NO_PUBLISHED)

ENOUGH_IMAGES = 300  # that the sanity checks of an attack should look at
ALL_IMAGES = 10_000  # test images, that published robust accuracies are of
ROBUST = "robust"  # metrics that start so are what stage `audit` examines

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
        flags: of a robust accuracy, the reasons for doubt that its examination found (stage
            `audit`), a sentence each; None if it was not examined at every seed and nothing was
            found. Empty for every other number.
        outdated: commands that make results which are left out, because they were made from other
            networks than those that are there.
        examined: images that its examination looked at, the fewest of all seeds; None without one.
        attacked: of a robust accuracy, the images that it is counted over, the fewest of all seeds.
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
    flags: tuple[str, ...] | None = ()
    outdated: tuple[str, ...] = ()
    examined: int | None = None
    attacked: int | None = None


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

    def flagged(self) -> dict[str, list[Cell]]:
        """Reason → the cells with a dagger for it, in order."""
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            for reason in cell.flags or ():
                found.setdefault(reason, []).append(cell)
        return found

    def not_audited(self) -> list[Cell]:
        """The robust accuracies that nobody examined."""
        return [cell for cell in self.cells if cell.flags is None]

    def examined_on_few(self) -> dict[int, list[Cell]]:
        """Number of images → the robust accuracies that were examined on so few."""
        return self._on_few(attrgetter("examined"), ENOUGH_IMAGES)

    def attacked_on_few(self) -> dict[int, list[Cell]]:
        """Number of images → the robust accuracies beside published ones of all test images."""
        return self._on_few(attrgetter("attacked"), ALL_IMAGES)

    def _on_few(
        self, images_of: Callable[[Cell], int | None], enough: int
    ) -> dict[int, list[Cell]]:
        found: dict[int, list[Cell]] = {}
        for cell in self.cells:
            images = images_of(cell)
            if images is not None and images < enough:
                found.setdefault(images, []).append(cell)
        return found

    def as_json(self) -> dict[str, Any]:
        """The plain dictionary that is written as NAME.json."""
        cells = [asdict(cell) for cell in self.cells]
        return {"table": self.spec.name, "profile": self.profile, "cells": cells}
