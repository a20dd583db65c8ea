"""Tables whose numbers say what is behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rewire.evaluation.statistics import Accuracy
from rewire.reporting.build_table import R, build_table, measurements
from rewire.reporting.table import NOT_RUN, Cell, Table
from rewire.reporting.table_spec import TableSpec


@dataclass(frozen=True)
class Location:
    """Where a result was read, and how it is made again.

    Attributes:
        cell: folder of the cell.
        file, place: what holds the number, and where in it.
        commands: that make it, in order; empty if the cell's name does not tell.
        commit: of the code that made it, None if unknown.
        doubts: why the file may not be what it seems, a sentence each.
    """

    cell: str
    file: str
    place: str
    commands: tuple[str, ...] = ()
    commit: str | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One seed's part in a number.

    Attributes:
        seed: of the training.
        value: in the table's unit.
        accuracy: behind it, None if it is not counted over images.
        location: where it was read.
    """

    seed: int
    value: float
    accuracy: Accuracy | None
    location: Location


@dataclass(frozen=True)
class Number:
    """A cell of a table and what is behind it."""

    cell: Cell
    sources: tuple[Source, ...]

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why its files may not be what they seem."""
        return tuple(dict.fromkeys(d for source in self.sources for d in source.location.doubts))


@dataclass(frozen=True)
class TableView:
    """A filled table whose numbers explain themselves; `rows` as those of the table."""

    table: Table
    rows: tuple[tuple[Number, ...], ...]

    @property
    def rows_run(self) -> tuple[int, ...]:
        """The rows of which anything was run; a sweep fills but some."""
        return tuple(i for i, row in enumerate(self.rows) if _any_run(row))

    @property
    def columns_run(self) -> tuple[int, ...]:
        """The columns of which anything was run."""
        columns = enumerate(zip(*self.rows, strict=True))
        return tuple(i for i, column in columns if _any_run(column))

    @property
    def not_run(self) -> tuple[str, ...]:
        """Names of the rows and columns of which nothing was run."""
        rows, headers = self.table.spec.rows, tuple(self.table.spec.columns.values())
        return (
            *(row.label for i, row in enumerate(rows) if i not in self.rows_run),
            *(header for i, header in enumerate(headers) if i not in self.columns_run),
        )


def _any_run(numbers: Iterable[Number]) -> bool:
    return any(number.cell.verdict != NOT_RUN for number in numbers)


def table_view(
    spec: TableSpec,
    results: Sequence[R],
    *,
    profile: str,
    note: str,
    locate: Callable[[R, str], Location],
) -> TableView:
    """Fill a table as `build_table` does, and keep the results behind every number.

    Args:
        spec: the table.
        results: as `build_table` takes them.
        profile, note: of `build_table`.
        locate: (result, metric of the row) → where the result was read.
    """
    table = build_table(spec, results, profile=profile, note=note)
    shown = [result for result in results if result.profile == profile]
    rows = tuple(
        tuple(
            Number(
                cell,
                tuple(
                    Source(
                        seed=part.result.seed,
                        value=part.value,
                        accuracy=part.accuracy,
                        location=locate(part.result, row.metric),
                    )
                    for part in measurements(spec, row, column, shown)
                ),
            )
            for column, cell in zip(spec.columns, cells, strict=True)
        )
        for row, cells in zip(spec.rows, table.rows(), strict=True)
    )
    return TableView(table, rows)
