"""Results of the article as plain numbers: accuracies by curve, column, draw and seed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewire.errors import InputError
from rewire.evaluation.statistics import mean_interval

CLEAN = "none"  # column of the images without noise, and point of the unpruned network
VALIDATION = "validation"  # column of curves.csv: clean held-out images
CLEAN_LOSS = 0.0065  # the article accepts 98.0 % of 98.65 %

_ANN = ("3/.25", "2/.25", "1/.15", "5/.1", "5/.35", "8/.2", "7/.3", "9/.2")
VECTORS: Mapping[str, tuple[str, ...]] = {
    "ann": _ANN,
    "ann_article": _ANN,
    "cnn": ("3/.25", "2/.25", "1/.35", "5/.25", "5/.35", "4/.25", "7/.3", "9/.3"),
}
"""Network → the eight (class, limit) vectors of the article, in its order."""

Counts = tuple[int, int]
"""(correct images, images)."""


@dataclass(frozen=True)
class Point:
    """One pruned network on the test images.

    Attributes:
        name: e.g. "absolute".
        draw: number of the draw of images behind the activated metric.
        evaluation: "E1" (unclipped) or "E2" (clipped).
        ratios: as configured.
        sparsity: realised share over the pruned matrices.
        counts: column → counts.
        validation: counts on the clean held-out images, None if not given.
    """

    name: str
    draw: int
    evaluation: str
    ratios: Any
    sparsity: float
    counts: Mapping[str, Counts]
    validation: Counts | None


@dataclass(frozen=True)
class Run:
    """What `article_curves` measured on one network; ratios are true shares, accuracies in [0, 1].

    Attributes:
        network, head, seed, profile: of the cell.
        points: in the order of metrics.json.
        counts: (curve, evaluation, column) → draw → ratio → counts.
        sparsities: curve → ratio → realised share, averaged over draws.
        metrics: the whole content of metrics.json.
    """

    network: str
    head: str
    seed: int
    profile: str
    points: tuple[Point, ...]
    counts: Mapping[tuple[str, str, str], Mapping[int, Mapping[float, Counts]]]
    sparsities: Mapping[str, Mapping[float, float]]
    metrics: Mapping[str, Any]

    @property
    def vectors(self) -> tuple[str, ...]:
        """The article's eight vectors for this network."""
        return VECTORS[self.network]

    def at(self, name: str, evaluation: str = "E1") -> list[Point]:
        """All draws of a point; empty if there is none."""
        return [p for p in self.points if p.name == name and p.evaluation == evaluation]

    def draws(
        self, curve: str, column: str, evaluation: str = "E1"
    ) -> dict[int, dict[float, float]]:
        """Draw → ratio → accuracy, ratios ascending; empty if the curve was not measured."""
        found = self.counts.get((curve, evaluation, column), {})
        return {
            draw: {ratio: k / n for ratio, (k, n) in sorted(values.items())}
            for draw, values in sorted(found.items())
        }

    def mean(self, curve: str, column: str, evaluation: str = "E1") -> dict[float, float]:
        """Ratio → accuracy, averaged over draws."""
        return averaged(list(self.draws(curve, column, evaluation).values()))

    def mean_of_vectors(self, curve: str, evaluation: str = "E1") -> dict[float, float]:
        """Ratio → accuracy, averaged over draws and the eight vectors; empty if one is missing."""
        each = [self.mean(curve, vector, evaluation) for vector in self.vectors]
        return averaged(each) if all(each) else {}


def as_run(raw: Run | Mapping[str, Any]) -> Run:
    """A `Run` from {"network", "head", "seed", "profile", "points", "curves"}.

    Args:
        raw: `points` is the content of metrics.json, `curves` the rows of curves.csv as
            dictionaries with texts or numbers as values, or the text of the file. A `Run` is
            returned as it is, so that callers may index their data once.

    Raises:
        InputError: for missing fields or rows that hold no counts.
    """
    if isinstance(raw, Run):
        return raw
    where = f"results of {raw.get('network')}-{raw.get('head')}-seed{raw.get('seed')}"
    try:
        rows = raw["curves"]
        counts, sparsities = _curves(parse_curves(rows) if isinstance(rows, str) else rows)
        return Run(
            network=raw["network"],
            head=raw["head"],
            seed=raw["seed"],
            profile=raw["profile"],
            points=tuple(_points(raw["points"])),
            counts=counts,
            sparsities=sparsities,
            metrics=raw["points"],
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{where} are incomplete or damaged: {error!r}") from error


def parse_curves(text: str) -> list[dict[str, str]]:
    """Rows of the text of a curves.csv."""
    return list(csv.DictReader(io.StringIO(text)))


def chosen_runs(
    runs: Iterable[Run | Mapping[str, Any]], *, network: str, head: str | None = None
) -> list[Run]:
    """`chosen` for results of `article_curves`."""
    return [as_run(raw) for raw in chosen(runs, network=network, head=head)]


def chosen(results: Iterable[Any], *, network: str, head: str | None = None) -> list[Any]:
    """The results of one network and head (None: all), by head and seed.

    Args:
        results: `Run`s, or dictionaries with network, head, seed and profile.
        network, head: what to keep.

    Raises:
        InputError: for two results of one cell, or results of more than one profile.
    """
    found = [
        result
        for result in results
        if _field(result, "network") == network and head in (None, _field(result, "head"))
    ]
    cells = sorted((_field(result, "head"), _field(result, "seed")) for result in found)
    if len(set(cells)) < len(cells):
        raise InputError(f"more than one result of a cell: {cells}. Allowed: one of each.")
    profiles = {_field(result, "profile") for result in found}
    if len(profiles) > 1:
        raise InputError(f"results of profiles {sorted(profiles)}. Allowed: one at a time.")
    return sorted(found, key=lambda result: (_field(result, "head"), _field(result, "seed")))


def averaged(curves: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """Mean over curves at every ratio that all of them have."""
    if not curves:
        return {}
    shared = [ratio for ratio in curves[0] if all(ratio in curve for curve in curves)]
    return {ratio: mean(curve[ratio] for curve in curves) for ratio in shared}


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean of at least one value."""
    values = list(values)
    return math.fsum(values) / len(values)


def at_ratio(curve: Mapping[float, float], ratio: float) -> float | None:
    """Value at a ratio, linear between the two nearest ones; None outside of the curve."""
    if (key := as_ratio(ratio)) in curve:
        return curve[key]
    below = max((r for r in curve if r < ratio), default=None)
    above = min((r for r in curve if r > ratio), default=None)
    if below is None or above is None:
        return None
    share = (ratio - below) / (above - below)
    return curve[below] + share * (curve[above] - curve[below])


def as_ratio(value: Any) -> float:
    """A ratio as key: 0.1 + 0.2 and 0.3 are the same."""
    return round(float(value), 6)


def kept_ratios(
    clean: Mapping[float, float], *, unpruned: float, loss: float = CLEAN_LOSS
) -> list[float]:
    """Ratios at which clean accuracy is at most `loss` below the unpruned network's."""
    return [ratio for ratio, value in clean.items() if value >= unpruned - loss - 1e-9]


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean and 95 % Student-t interval over seeds; low and high are None for one seed."""
    centre, half = mean_interval(values)
    low, high = (None, None) if half is None else (centre - half, centre + half)
    return {"mean": centre, "low": low, "high": high, "n": len(values)}


def accuracies(measured: Mapping[str, Any], columns: Sequence[str]) -> dict[str, float]:
    """Column → accuracy from {"correct": [...], "images": [...]}; columns without images are out.

    Raises:
        InputError: for lists of other lengths than `columns`.
    """
    return {column: k / n for column, (k, n) in counted(measured, columns).items() if n}


def counted(measured: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Counts]:
    """Column → counts from {"correct": [...], "images": [...]}.

    Raises:
        InputError: for lists of other lengths than `columns`, or impossible counts.
    """
    correct, images = measured["correct"], measured["images"]
    if not len(correct) == len(images) == len(columns):
        raise InputError(
            f"{len(correct)} counts of {len(images)} for {len(columns)} columns. Allowed: as many."
        )
    if any(not 0 <= k <= n for k, n in zip(correct, images, strict=True)):
        raise InputError(f"{correct} of {images} images are correct: impossible.")
    return dict(zip(columns, zip(correct, images, strict=True), strict=True))


def _field(raw: Run | Mapping[str, Any], name: str) -> Any:
    return getattr(raw, name) if isinstance(raw, Run) else raw[name]


def _points(metrics: Mapping[str, Any]) -> Iterable[Point]:
    for point in metrics["points"]:
        held_out = point.get("validation")
        yield Point(
            name=point["point"],
            draw=int(point.get("draw", 0)),
            evaluation=point["evaluation"],
            ratios=point.get("ratios"),
            sparsity=float(point["sparsity"]),
            counts=counted(point, metrics["columns"]),
            validation=(held_out["correct"], held_out["images"]) if held_out else None,
        )


def _curves(rows: Iterable[Mapping[str, Any]]) -> tuple[dict, dict]:
    counts: dict[tuple[str, str, str], dict[int, dict[float, Counts]]] = {}
    sparsities: dict[str, dict[float, dict[int, float]]] = {}
    for row in rows:
        curve, draw, ratio = row["curve"], int(row["draw"]), as_ratio(row["ratio"])
        correct, images = int(row["correct"]), int(row["images"])
        if not 0 <= correct <= images or not images:
            raise ValueError(f"{correct} of {images} images are correct")
        lines = counts.setdefault((curve, row["evaluation"], row["column"]), {})
        lines.setdefault(draw, {})[ratio] = (correct, images)
        sparsities.setdefault(curve, {}).setdefault(ratio, {})[draw] = float(row["sparsity"])
    return counts, {
        curve: {ratio: mean(each.values()) for ratio, each in sorted(found.items())}
        for curve, found in sparsities.items()
    }
