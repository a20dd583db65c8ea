"""Tables whose numbers say what is behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewire.reporting.build_table import build_table, measurements
from rewire.reporting.html.model import Location, Number, Source, TableView
from rewire.reporting.table_spec import TableSpec

Locate = Callable[[Mapping[str, Any], str], Location]
"""(result, metric of the row) → where the result was read."""


def table_view(
    spec: TableSpec,
    results: Sequence[Mapping[str, Any]],
    *,
    profile: str,
    note: str,
    locate: Locate,
) -> TableView:
    """Fill a table as `build_table` does, and keep the results behind every number.

    Args:
        spec: the table.
        results: as `build_table` takes them.
        profile, note: of `build_table`.
        locate: finds the file of a result.
    """
    table = build_table(spec, results, profile=profile, note=note)
    shown = [result for result in results if result["profile"] == profile]
    rows = tuple(
        tuple(
            Number(
                cell,
                tuple(
                    Source(
                        seed=part.result["seed"],
                        value=part.value,
                        counts=part.counts,
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
