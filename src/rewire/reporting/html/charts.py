"""Histories as the lines of charts."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rewire.errors import InputError
from rewire.reporting.html.model import Series

History = Sequence[Mapping[str, float]]
"""Rows of a history.csv as numbers; what is missing is not in a row."""
Seeds = Sequence[History]
"""The histories of one cell's seeds."""


def line(label: str, seeds: Seeds, x: str, y: str, scale: float) -> Series:
    """Mean over seeds wherever one has a value, with their range if there are several."""
    values: dict[float, list[float]] = {}
    for history in seeds:
        for row in history:
            if x in row and y in row:
                values.setdefault(row[x], []).append(scale * row[y])
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    if len(seeds) > 1:
        low = tuple(min(each) for each in values.values())
        high = tuple(max(each) for each in values.values())
    return Series(label, tuple(values), tuple(map(fmean, values.values())), low, high)


def history(path: Path) -> History:
    """Rows of a history.csv; what is no number is left out."""
    try:
        with open(path, encoding="utf-8", newline="") as lines:
            return [
                {key: float(value) for key, value in row.items() if value not in ("", None)}
                for row in csv.DictReader(lines)
            ]
    except (OSError, UnicodeDecodeError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"'{path}' is damaged or not a history: {error}") from error
