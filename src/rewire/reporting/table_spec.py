"""Specifications of tables: which results go where, and the published value of every cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rewire.errors import InputError, unknown_name

DIRECTIONS = ("higher", "lower")


@dataclass(frozen=True)
class Row:
    """One row: the results it shows, what it reads from them, and what was published.

    Attributes:
        label: text of the row.
        selector: field -> value that a result must have.
        metric: dotted path into a result's metrics; a number indexes a list.
        published: column -> published value in the table's unit, None where there is none.
        tolerance: its own, None for that of the column or table.
    """

    label: str
    selector: Mapping[str, Any]
    metric: str
    published: Mapping[str, float | None]
    tolerance: float | None = None


@dataclass(frozen=True)
class TableSpec:
    """A table as conf/table describes it.

    Attributes:
        name: stem of the written files.
        title: what the table shows.
        source: where the published values were printed.
        unit: unit of every number, e.g. "%".
        direction: "higher" or "lower", whichever is better.
        tolerance: largest |ours - published| in `unit` that counts as reproduced.
        columns: value of a result's `axis` -> header, in order.
        rows: the rows in order.
        axis: field of a result that chooses the column.
        tolerances: column -> its own tolerance, where it is not `tolerance`.
    """

    name: str
    title: str
    source: str
    unit: str
    direction: str
    tolerance: float
    columns: Mapping[str, str]
    rows: tuple[Row, ...]
    axis: str = "rewire"
    tolerances: Mapping[str, float] = field(default_factory=dict)

    def tolerance_of(self, row: Row, column: str) -> float:
        """Of one cell: the row's own, else the column's, else the table's."""
        if row.tolerance is not None:
            return row.tolerance
        return self.tolerances.get(column, self.tolerance)


def parse_spec(raw: Mapping[str, Any]) -> TableSpec:
    """Check a plain dictionary (the content of a conf/table file) and turn it into a `TableSpec`.

    Raises:
        InputError: for a missing or unknown key, a value of the wrong kind, or a row whose
            published values do not name exactly the table's columns.
    """
    name = raw.get("name", "?") if isinstance(raw, Mapping) else "?"
    where = f"table '{name}'"
    required = {"name", "title", "source", "unit", "direction", "tolerance", "columns", "rows"}
    _check_keys(raw, required, where, optional={"axis"})
    if raw["direction"] not in DIRECTIONS:
        raise unknown_name(f"direction in {where}", raw["direction"], DIRECTIONS)
    tolerance = _tolerance(raw["tolerance"], where)
    if not isinstance(raw["columns"], Mapping) or not raw["columns"]:
        raise InputError(f"{where}: columns must map a column to {{header: ...}}, at least one.")
    columns, tolerances = {}, {}
    for key, column in raw["columns"].items():
        _check_keys(column, {"header"}, f"{where}, column '{key}'", optional={"tolerance"})
        columns[str(key)] = str(column["header"])
        if "tolerance" in column:
            tolerances[str(key)] = _tolerance(column["tolerance"], f"{where}, column '{key}'")
    if not isinstance(raw["rows"], Iterable) or not raw["rows"]:
        raise InputError(f"{where}: rows must be a list with at least one row.")
    rows = tuple(_parse_row(row, columns, where) for row in raw["rows"])
    _check_distinct([row.label for row in rows], f"row labels of {where}")
    _check_distinct(list(columns.values()), f"column headers of {where}")
    texts = {key: str(raw[key]) for key in ("name", "title", "source", "unit", "direction")}
    return TableSpec(
        **texts,
        tolerance=tolerance,
        columns=columns,
        rows=rows,
        axis=str(raw.get("axis", "rewire")),
        tolerances=tolerances,
    )


def load_spec(path: str | Path) -> TableSpec:
    """Read one conf/table file; raises `InputError` if it is missing, damaged or incomplete."""
    return parse_spec(read_yaml(path, kind="table specification"))


def read_yaml(path: str | Path, *, kind: str) -> Any:
    """The values in a YAML file; raises `InputError` if it is missing or damaged."""
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"missing {kind} '{path}'") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"'{path}' is damaged or not YAML: {error}") from error


def _parse_row(raw: Mapping[str, Any], columns: Mapping[str, str], where: str) -> Row:
    required = {"label", "selector", "metric", "published"}
    _check_keys(raw, required, f"{where}, one row", optional={"tolerance"})
    where = f"{where}, row '{raw['label']}'"
    if not isinstance(raw["selector"], Mapping):
        raise InputError(f"{where}: selector must map fields of a result to values.")
    _check_keys(raw["published"], set(columns), f"{where}, published")
    for column, value in raw["published"].items():
        if value is not None and not _is_number(value):
            raise InputError(f"{where}: published {column} is {value!r}. Allowed: number or null.")
    return Row(
        label=str(raw["label"]),
        selector=dict(raw["selector"]),
        metric=str(raw["metric"]),
        published=dict(raw["published"]),
        tolerance=_tolerance(raw["tolerance"], where) if "tolerance" in raw else None,
    )


def _check_keys(
    raw: Any, required: set[str], where: str, *, optional: AbstractSet[str] = frozenset()
) -> None:
    if not isinstance(raw, Mapping):
        raise InputError(f"{where} is {raw!r}. Allowed: a mapping with {sorted(required)}.")
    for key in raw:
        if key not in required | optional:
            raise unknown_name(f"key in {where}:", key, required | optional)
    if missing := sorted(required - set(raw)):
        raise InputError(f"{where} lacks {', '.join(missing)}.")


def _tolerance(value: Any, where: str) -> float:
    if not _is_number(value) or value < 0:
        raise InputError(f"{where}: tolerance is {value!r}. Allowed: a number >= 0.")
    return float(value)


def _check_distinct(names: list[str], what: str) -> None:
    if len(set(names)) < len(names):
        raise InputError(f"{what} are not distinct: {names}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
