"""The article's nine plots as numbers: files of conf/article/published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rewire.article.report.runs import VECTORS, as_ratio
from rewire.errors import InputError
from rewire.reporting.table_spec import read_yaml

BY_EYE = "~"


@dataclass(frozen=True)
class Reading:
    """One published accuracy.

    Attributes:
        x: as plotted by the article.
        ratio: the true pruning ratio behind it.
        accuracy: in [0, 1].
        error: how far the reading may be off.
        by_eye: read by eye instead of by colour.
    """

    x: float
    ratio: float
    accuracy: float
    error: float
    by_eye: bool


@dataclass(frozen=True)
class Panel:
    """One panel: a curve of curves.csv and what was published for it.

    Attributes:
        title: which matrices are pruned.
        curve: name in curves.csv.
        readings: column → readings in the order of x.
        repeat: the same for the author's own repeat; empty if there is none.
    """

    title: str
    curve: str
    readings: Mapping[str, tuple[Reading, ...]]
    repeat: Mapping[str, tuple[Reading, ...]]


@dataclass(frozen=True)
class Plot:
    """One plot of the article.

    Attributes:
        name: of the picture.
        title: what it shows.
        source: where the values were read.
        caption: what the reader must know.
        network: "ann" or "cnn".
        images: test images behind the published values.
        first_ratio: true ratio at which the axis begins; the first point itself is unpruned.
        step: of the true ratio.
        panels: from left to right.
    """

    name: str
    title: str
    source: str
    caption: str
    network: str
    images: int
    first_ratio: float
    step: float
    panels: tuple[Panel, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns in the order of the first panel."""
        return tuple(dict.fromkeys(column for p in self.panels for column in p.readings))


def parse_plot(raw: Mapping[str, Any]) -> Plot:
    """Check the content of a conf/article/published file and turn it into a `Plot`.

    x is what the article plots. The author measured before pruning, so the true ratio is x - step;
    the first point is the unpruned network.

    Raises:
        InputError: for missing or unknown keys, an accuracy outside [0, 1], an x that does not
            grow, or lists of unequal lengths.
    """
    where = f"plot '{raw.get('name', '?')}'" if isinstance(raw, Mapping) else "plot"
    needed = {"name", "title", "source", "caption", "network", "images"}
    needed |= {"ratio_per_x", "first_x", "step", "error", "panels"}
    _check_keys(raw, needed, where)
    if raw["network"] not in VECTORS:
        raise InputError(f"{where}: network {raw['network']!r}. Allowed: {', '.join(VECTORS)}.")
    panels = []
    for panel in raw["panels"]:
        _check_keys(panel, {"title", "curve", "x", "accuracy"}, where, optional={"repeat"})
        repeat = panel.get("repeat", {"x": [], "accuracy": {}})
        panels.append(
            Panel(
                title=panel["title"],
                curve=panel["curve"],
                readings=_readings(panel, raw, f"{where}, {panel['title']}"),
                repeat=_readings(repeat, raw, f"{where}, {panel['title']}, repeat"),
            )
        )
    return Plot(
        **{key: raw[key] for key in ("name", "title", "source", "network", "images", "step")},
        caption=raw["caption"].strip(),
        first_ratio=as_ratio(raw["first_x"] * raw["ratio_per_x"]),
        panels=tuple(panels),
    )


def load_plot(path: str | Path) -> Plot:
    """Read one conf/article/published file; raises `InputError` if it is missing or damaged."""
    return parse_plot(read_yaml(path, kind="published values"))


def _readings(
    panel: Mapping[str, Any], raw: Mapping[str, Any], where: str
) -> dict[str, tuple[Reading, ...]]:
    places = panel["x"]
    if any(b <= a for a, b in pairwise(places)):
        raise InputError(f"{where}: x is {places}. Allowed: growing numbers.")
    found = {}
    for column, values in panel["accuracy"].items():
        if len(values) != len(places):
            raise InputError(f"{where}: {len(values)} values of {column} at {len(places)} x.")
        found[str(column)] = tuple(
            _reading(x, value, raw, f"{where}, {column}")
            for x, value in zip(places, values, strict=True)
            if value is not None
        )
    return found


def _reading(x: float, value: Any, raw: Mapping[str, Any], where: str) -> Reading:
    by_eye = isinstance(value, str) and value.startswith(BY_EYE)
    try:
        accuracy = float(value.removeprefix(BY_EYE) if by_eye else value)
    except (TypeError, ValueError):
        accuracy = -1.0
    if not 0 <= accuracy <= 1:
        raise InputError(f"{where}: {value!r}. Allowed: 0 to 1, ~ before it if by eye, or null.")
    first = x <= raw["first_x"]
    ratio = 0.0 if first else max(0.0, as_ratio(x * raw["ratio_per_x"] - raw["step"]))
    return Reading(x, ratio, accuracy, _error(x, raw["error"], where), by_eye)


def _error(x: float, limits: Sequence[Sequence[float]], where: str) -> float:
    for largest, error in limits:
        if x <= largest:
            return float(error)
    raise InputError(f"{where}: no reading error for x = {x}. Allowed: up to {limits[-1][0]}.")


def _check_keys(
    raw: Any, needed: set[str], where: str, *, optional: AbstractSet[str] = frozenset()
) -> None:
    if not isinstance(raw, Mapping):
        raise InputError(f"{where} is {raw!r}. Allowed: a mapping with {sorted(needed)}.")
    if wrong := sorted((needed - set(raw)) | (set(raw) - needed - optional), key=str):
        raise InputError(f"{where}: missing or unknown keys {wrong}. Allowed: {sorted(needed)}.")
