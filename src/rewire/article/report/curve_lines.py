"""Our curves beside the published ones, column by column, as numbers and as CSV text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewire.article.report.published_curves import Panel, Plot
from rewire.article.report.runs import Run, as_ratio, at_ratio, averaged, chosen
from rewire.files import csv_text
from rewire.reporting.table import COMPARABLE_PROFILE


@dataclass(frozen=True)
class Line:
    """Ours of one column: ratio → accuracy, and its range over all seeds and draws."""

    mean: Mapping[float, float]
    low: Mapping[float, float]
    high: Mapping[float, float]
    seeds: int
    curves: int


def panel_lines(panel: Panel, runs: Sequence[Run], evaluation: str = "E1") -> dict[str, Line]:
    """Ours by column of the plot; columns that no run has are left out."""
    lines = {}
    for column in panel.readings:
        each = [list(run.draws(panel.curve, column, evaluation).values()) for run in runs]
        each = [draws for draws in each if draws]
        if not each:
            continue
        mean = averaged([averaged(draws) for draws in each])
        curves = [curve for draws in each for curve in draws]
        low = {ratio: min(curve[ratio] for curve in curves) for ratio in mean}
        high = {ratio: max(curve[ratio] for curve in curves) for ratio in mean}
        lines[column] = Line(mean, low, high, seeds=len(each), curves=len(curves))
    return lines


def curves_csv(plot: Plot, runs: Sequence[Run], *, head: str = "lq", evaluation: str = "E1") -> str:
    """Our curves of one plot as CSV text, published values beside them at the same true ratio.

    One row per panel, column of the plot and true ratio that we measured or that was published.
    `ours` is the mean over draws, then seeds; `low` and `high` are the range over all `curves`
    (draws of all `seeds`). Where only a published value has the ratio, ours is linear between its
    neighbours, and `interpolated` is "yes". What is missing is "n/a".
    """
    runs = chosen(runs, network=plot.network, head=head)
    profile = runs[0].profile if runs else None
    rows = []
    header = ["panel", "curve", "column", "ratio", "ours", "low", "high", "seeds", "curves"]
    header += ["interpolated", "published", "published_x", "reading_error", "by_eye", "repeat"]
    header += ["difference", "head", "evaluation", "profile", "comparable"]
    comparable = _yes(profile == COMPARABLE_PROFILE) if profile else None
    tail = [head, evaluation, profile, comparable]
    for panel in plot.panels:
        lines = panel_lines(panel, runs, evaluation)
        for column in panel.readings:
            for row in _rows(panel, column, lines.get(column)):
                values = [panel.title, panel.curve, column, *row, *tail]
                rows.append([_plain(value) for value in values])
    return csv_text(header, rows)


def _rows(panel: Panel, column: str, line: Line | None) -> Iterable[list[Any]]:
    readings = {reading.ratio: reading for reading in panel.readings[column]}
    repeats = {reading.ratio: reading for reading in panel.repeat.get(column, ())}
    measured = line.mean if line else {}
    for ratio in sorted({*readings, *repeats, *measured}):
        ours = [at_ratio(part, ratio) for part in (line.mean, line.low, line.high)] if line else []
        ours = ours or [None] * 3
        runs = [line.seeds, line.curves] if line and ours[0] is not None else [0, 0]
        inexact = None if ours[0] is None else _yes(ratio not in measured)
        reading = readings.get(ratio)
        published: list[float | str | None] = [None] * 4
        if reading:
            by_eye = _yes(reading.by_eye)
            published = [reading.accuracy, reading.x, reading.error, by_eye]
        repeat = repeats[ratio].accuracy if ratio in repeats else None
        difference = ours[0] - reading.accuracy if reading and ours[0] is not None else None
        yield [ratio, *ours, *runs, inexact, *published, repeat, difference]


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _plain(value: Any) -> Any:
    return as_ratio(value) if isinstance(value, float) else value
