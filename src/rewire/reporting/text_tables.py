"""Summary of a sweep: one row per cell, on the terminal and as Markdown, CSV and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from rewire.files import csv_text, write_json, write_text

ABSENT = "-"


def summary_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Aligned plain text: a header, a rule, one line per row; numbers to the right.

    Args:
        rows: column -> value; a missing value, None and NaN are shown as "-".
        columns: which columns in which order; default: all, in order of first appearance.
    """
    columns = list(columns) if columns is not None else _all_columns(rows)
    if not columns:
        return "no results\n"
    lines = [[format_value(row.get(name)) for name in columns] for row in rows]
    right = [_is_numeric(row.get(name) for row in rows) for name in columns]
    sides = ["right" if numeric else "left" for numeric in right]
    return tabulate(lines, columns, colalign=sides, disable_numparse=True) + "\n"


def write_summary(
    rows: Sequence[Mapping[str, Any]],
    folder: str | Path,
    name: str,
    *,
    columns: Sequence[str] | None = None,
) -> list[Path]:
    """Write NAME.md, NAME.csv and NAME.json into `folder`; returns the three paths.

    CSV and JSON hold the full numbers; what is missing or not finite is "n/a" and null there.
    """
    columns = list(columns) if columns is not None else _all_columns(rows)
    values = [{column: _finite(row.get(column)) for column in columns} for row in rows]
    paths = [Path(folder) / f"{name}{suffix}" for suffix in (".md", ".csv", ".json")]
    write_text(paths[0], _markdown(values, columns))
    write_text(paths[1], csv_text(columns, (row.values() for row in values)))
    write_json(paths[2], values)
    return paths


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """The same table as Markdown; cells are escaped."""
    columns = list(columns) if columns is not None else _all_columns(rows)
    return _markdown([{name: row.get(name) for name in columns} for row in rows], columns)


def format_value(value: Any) -> str:
    """A value as people read it: four significant digits, no exponent for large numbers."""
    value = _finite(value)
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return str(value)


def _all_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_numeric(values: Any) -> bool:
    return all(value is None or isinstance(value, int | float) for value in values)


def _markdown(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    if not columns:
        return "no results\n"
    right = [_is_numeric(row[column] for row in rows) for column in columns]
    body = [[format_value(row[column]) for column in columns] for row in rows]
    lines = [list(columns), ["---:" if flag else "---" for flag in right], *body]
    cleaned = [[" ".join(text.split()).replace("|", r"\|") for text in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cleaned) + "\n"
