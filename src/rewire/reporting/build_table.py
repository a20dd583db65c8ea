"""Tables of our results against published values: every number with its seeds and its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

from rewire.errors import InputError
from rewire.evaluation.findings import Flag
from rewire.evaluation.statistics import Accuracy, mean_interval
from rewire.files import write_json, write_text
from rewire.reporting.render import to_csv, to_latex, to_markdown
from rewire.reporting.table import (
    COMPARABLE_PROFILE,
    DIFFERS,
    NO_PUBLISHED,
    NOT_COMPARABLE,
    NOT_RUN,
    OUTDATED,
    ROBUST,
    WITHIN,
    Cell,
    Table,
)
from rewire.reporting.table_spec import Row, TableSpec


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was measured of one cell at one seed; documents add the fields that tables select by.

    Attributes:
        profile: the scale at which it was run.
        seed: of the training.
        metrics: record, or name → record, into which a row's metric is a path. An `Accuracy` is
            shown in percent from its counts; any other number is in the table's unit.
        flags: what the examination of its robust accuracy found; None if there was none. They
            concern the rows whose metric starts with "robust", as does `examined`.
        examined: the images that were looked at.
        outdated: first part of a metric's path → command that makes it, for metrics that it lacks
            because they were made from another network.
    """

    profile: str
    seed: int
    metrics: Any
    flags: Sequence[Flag] | None = None
    examined: int | None = None
    outdated: Mapping[str, str] = field(default_factory=dict)


R = TypeVar("R", bound=Result)


def build_table(spec: TableSpec, results: Sequence[Result], *, profile: str, note: str) -> Table:
    """Put results into the cells of a table and judge them against the published values.

    Args:
        spec: the table.
        results: one per cell and seed.
        profile: only results of this profile are shown; only "paper" is comparable.
        note: the profile in words, printed on top of the table.

    Raises:
        InputError: for two results of one cell and seed, and for metrics that are not finite
            numbers.
    """
    shown = [result for result in results if result.profile == profile]
    cells = tuple(
        _cell(spec, row, column, shown, profile=profile)
        for row in spec.rows
        for column in spec.columns
    )
    return Table(spec=spec, profile=profile, note=note, cells=cells)


def write_table(table: Table, folder: str | Path) -> list[Path]:
    """Write NAME.md, NAME.csv, NAME.tex and NAME.json into `folder`; returns the four paths."""
    folder, name = Path(folder), table.spec.name
    texts = {".md": to_markdown(table), ".csv": to_csv(table), ".tex": to_latex(table)}
    for suffix, text in texts.items():
        write_text(folder / f"{name}{suffix}", text)
    write_json(folder / f"{name}.json", table.as_json())
    return [folder / f"{name}{suffix}" for suffix in [*texts, ".json"]]


@dataclass(frozen=True)
class Measured(Generic[R]):
    """One result's part in a cell.

    Attributes:
        result: where it is from.
        value: in the table's unit.
        accuracy: behind it, None if it is not counted over images.
    """

    result: R
    value: float
    accuracy: Accuracy | None = None


def measurements(spec: TableSpec, row: Row, column: str, results: Sequence[R]) -> list[Measured[R]]:
    """What the results say about one cell, one entry per seed, in the order of the results.

    Args:
        spec, row, column: the cell; `column` is a key of the columns.
        results: of one profile.

    Raises:
        InputError: for two results of one seed, and for metrics that are not finite numbers.
    """
    place = _place(spec, row, column)
    found = [
        _measure(result, row.metric, place=place) for result in _chosen(spec, row, column, results)
    ]
    return [measured for measured in found if measured is not None]


def _chosen(spec: TableSpec, row: Row, column: str, results: Sequence[R]) -> list[R]:
    """The results of one cell, whether they have its metric or not."""
    wanted = {**row.selector, spec.axis: column}
    chosen = [result for result in results if _matches(result, wanted)]
    seeds = [result.seed for result in chosen]
    if len(set(seeds)) < len(seeds):
        raise InputError(
            f"{_place(spec, row, column)}: seeds {sorted(seeds)} of {len(seeds)} results are not "
            "distinct. Allowed: one result per cell and seed."
        )
    return chosen


def _place(spec: TableSpec, row: Row, column: str) -> str:
    return f"table '{spec.name}', row '{row.label}', column '{spec.columns[column]}'"


def _cell(
    spec: TableSpec, row: Row, column: str, results: Sequence[Result], *, profile: str
) -> Cell:
    found = measurements(spec, row, column, results)
    published = row.published[column]
    ours, ci95, interval = _summarise(found, share=spec.unit == "%")
    difference = ours - published if ours is not None and published is not None else None
    measured = {id(part.result) for part in found}
    group = row.metric.partition(".")[0]
    outdated = tuple(
        command
        for result in _chosen(spec, row, column, results)
        if id(result) not in measured and (command := result.outdated.get(group))
    )
    robust = row.metric.startswith(ROBUST)
    examined = [count for part in found if robust and (count := part.result.examined)]
    attacked = [part.accuracy.total for part in found if robust and part.accuracy]
    return Cell(
        row=row.label,
        column=spec.columns[column],
        ours=ours,
        published=published,
        n=len(found),
        ci95=ci95,
        verdict=_verdict(
            ours,
            difference,
            tolerance=spec.tolerance_of(row, column),
            profile=profile,
            outdated=bool(outdated),
        ),
        difference=difference,
        interval=interval,
        flags=_flags([part.result for part in found]) if robust else (),
        outdated=outdated,
        examined=min(examined, default=None),
        attacked=min(attacked, default=None),
    )


def _flags(results: Sequence[Result]) -> tuple[str, ...] | None:
    """Reasons for doubt of all seeds; None if there are none and a seed was not examined."""
    ordered = sorted(results, key=attrgetter("seed"))
    reasons = [
        f"seed {result.seed}: {flag.reason}" if len(ordered) > 1 else flag.reason
        for result in ordered
        for flag in result.flags or ()
    ]
    if not reasons and any(result.flags is None for result in ordered):
        return None
    return tuple(reasons)


def _matches(result: Result, wanted: Mapping[str, Any]) -> bool:
    for key, value in wanted.items():
        actual = getattr(result, key, None)
        # 1 - 0.01 and 0.99 are the same sparsity.
        if isinstance(value, float) and isinstance(actual, int | float):
            if not math.isclose(actual, value, rel_tol=1e-9):
                return False
        elif actual != value:
            return False
    return True


def _measure(result: R, path: str, *, place: str) -> Measured[R] | None:
    """The number at a dotted path into a result's metrics, None if it is not there."""
    parent: Any = None
    node: Any = result.metrics
    for key in path.split("."):
        parent = node
        if isinstance(node, Mapping):
            node = node.get(key)
        elif isinstance(node, list | tuple):
            node = node[int(key)] if key.isdecimal() and int(key) < len(node) else None
        else:
            node = getattr(node, key, None)
    if node is None:
        return None
    if isinstance(parent, Accuracy) and path.endswith(".accuracy"):
        correct, total = parent.correct, parent.total
        if not 0 <= correct <= total or total == 0:
            raise InputError(f"{place}: {correct} of {total} images are correct: impossible.")
        return Measured(result, 100 * correct / total, parent)
    if not isinstance(node, int | float) or isinstance(node, bool) or not math.isfinite(node):
        raise InputError(f"{place}: {path} is {node!r}. Allowed: a finite number.")
    return Measured(result, float(node))


def _summarise(
    found: Sequence[Measured], *, share: bool
) -> tuple[float | None, tuple[float, float] | None, str | None]:
    """Mean, 95 % interval and what the interval varies over; of a share, inside of 0 to 100 %.

    Seeds that agree to the last digit say nothing of others: then, as with one seed, the interval
    is that of the images, and there is none without images.
    """
    if not found:
        return None, None, None
    if len({measured.value for measured in found}) == 1:
        if found[0].accuracy is None:
            return found[0].value, None, None
        return found[0].value, found[0].accuracy.interval, "images"
    mean, half = mean_interval([measured.value for measured in found])
    assert half is not None  # of two values or more
    low, high = mean - half, mean + half
    # Student's t of two seeds may be wider than what can be.
    return mean, (max(0.0, low), min(100.0, high)) if share else (low, high), "seeds"


def _verdict(
    ours: float | None,
    difference: float | None,
    *,
    tolerance: float,
    profile: str,
    outdated: bool,
) -> str:
    if ours is None:
        return OUTDATED if outdated else NOT_RUN
    if difference is None:
        return NO_PUBLISHED
    if profile != COMPARABLE_PROFILE:
        return NOT_COMPARABLE
    # 84.9 - 83.9 is a little more than 1 in binary.
    return WITHIN if abs(difference) <= tolerance + 1e-9 else DIFFERS
