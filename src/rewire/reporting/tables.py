"""Tables of our results against published values: every number with its seeds and its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewire.errors import InputError
from rewire.evaluation.statistics import mean_interval, wilson_interval
from rewire.files import write_json, write_text
from rewire.reporting.cells import (
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
from rewire.reporting.published import Row, TableSpec, parse_spec
from rewire.reporting.render import to_csv, to_latex, to_markdown


def build_table(
    spec: TableSpec | Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    *,
    profile: str,
    note: str,
) -> Table:
    """Put results into the cells of a table and judge them against the published values.

    Args:
        spec: the table, or the plain dictionary of its conf/table file.
        results: one dictionary per cell and seed with `profile`, `seed`, `metrics` (nested) and the
            fields that the table selects by, such as sparsity, objective, variant and rewire.
            Accuracies are {"correct", "total", "accuracy"} and shown in percent from the counts;
            any other metric is a number in the table's unit. A result may carry `flags`, what the
            examination of its robust accuracy found: a list of {"name", "reason"}, or None if there
            was none; they concern the rows whose metric starts with "robust", as does `examined`,
            the images that were looked at. A result that lacks metrics because they were made from
            another network has the commands that make them as `outdated`: {first part of a
            metric's path: command}.
        profile: only results of this profile are shown; only "paper" is comparable.
        note: the profile in words, printed on top of the table.

    Raises:
        InputError: for results without the fields above, for two results of one cell and seed, and
            for metrics that are not finite numbers.
    """
    spec = spec if isinstance(spec, TableSpec) else parse_spec(spec)
    for result in results:
        if missing := sorted({"profile", "seed", "metrics"} - set(result)):
            raise InputError(f"table '{spec.name}': a result lacks {', '.join(missing)}: {result}")
    shown = [result for result in results if result["profile"] == profile]
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


def _cell(
    spec: TableSpec,
    row: Row,
    column: str,
    results: Sequence[Mapping[str, Any]],
    *,
    profile: str,
) -> Cell:
    place = f"table '{spec.name}', row '{row.label}', column '{spec.columns[column]}'"
    wanted = {**row.selector, spec.axis: column}
    chosen = [result for result in results if _matches(result, wanted)]
    seeds = [result["seed"] for result in chosen]
    if len(set(seeds)) < len(seeds):
        raise InputError(
            f"{place}: seeds {sorted(seeds)} of {len(seeds)} results are not distinct. "
            "Allowed: one result per cell and seed."
        )
    pairs = [(r, _measure(r["metrics"], row.metric, place=place)) for r in chosen]
    found = [measured for _, measured in pairs if measured is not None]
    published = row.published[column]
    ours, ci95, interval = _summarise(found)
    difference = ours - published if ours is not None and published is not None else None
    measured = {id(r) for r, m in pairs if m is not None}
    group = row.metric.partition(".")[0]
    outdated = tuple(
        command
        for result in chosen
        if id(result) not in measured and (command := result.get("outdated", {}).get(group))
    )
    examined = [r.get("examined") for r, m in pairs if m is not None]
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
            tolerance=spec.tolerances.get(column, spec.tolerance),
            profile=profile,
            outdated=bool(outdated),
        ),
        difference=difference,
        interval=interval,
        flags=_flags([r for r, m in pairs if m is not None])
        if row.metric.startswith(ROBUST)
        else (),
        outdated=outdated,
        examined=min((count for count in examined if count), default=None)
        if row.metric.startswith(ROBUST)
        else None,
    )


def _flags(results: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """Reasons for doubt of all seeds; None if there are none and a seed was not examined."""
    ordered = sorted(results, key=lambda result: result["seed"])
    reasons = [
        f"seed {result['seed']}: {flag['reason']}" if len(ordered) > 1 else flag["reason"]
        for result in ordered
        for flag in result.get("flags") or ()
    ]
    if not reasons and any(result.get("flags") is None for result in ordered):
        return None
    return tuple(reasons)


def _matches(result: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for key, value in wanted.items():
        actual = result.get(key)
        # 1 - 0.01 and 0.99 are the same sparsity.
        if isinstance(value, float) and isinstance(actual, int | float):
            if not math.isclose(actual, value, rel_tol=1e-9):
                return False
        elif actual != value:
            return False
    return True


@dataclass(frozen=True)
class _Measured:
    value: float
    counts: tuple[int, int] | None = None


def _measure(metrics: Mapping[str, Any], path: str, *, place: str) -> _Measured | None:
    """The number at a dotted path, None if it is not there."""
    parent: Any = None
    node: Any = metrics
    for key in path.split("."):
        parent = node
        if isinstance(node, Mapping):
            node = node.get(key)
        elif isinstance(node, Sequence) and not isinstance(node, str) and key.isdecimal():
            node = node[int(key)] if int(key) < len(node) else None
        else:
            node = None
    if node is None:
        return None
    if path.split(".")[-1] == "accuracy" and {"correct", "total"} <= set(parent):
        correct, total = parent["correct"], parent["total"]
        if not 0 <= correct <= total or total == 0:
            raise InputError(f"{place}: {correct} of {total} images are correct: impossible.")
        return _Measured(100 * correct / total, (correct, total))
    if not isinstance(node, int | float) or isinstance(node, bool) or not math.isfinite(node):
        raise InputError(f"{place}: {path} is {node!r}. Allowed: a finite number.")
    return _Measured(float(node))


def _summarise(
    found: Sequence[_Measured],
) -> tuple[float | None, tuple[float, float] | None, str | None]:
    """Mean, 95 % interval and what the interval varies over."""
    if not found:
        return None, None, None
    if len(found) == 1:
        if found[0].counts is None:
            return found[0].value, None, None
        low, high = wilson_interval(*found[0].counts)
        return found[0].value, (100 * low, 100 * high), "images"
    mean, half = mean_interval([measured.value for measured in found])
    return mean, (mean - half, mean + half), "seeds"


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
