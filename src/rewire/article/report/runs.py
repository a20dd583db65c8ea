"""Results of the article as plain numbers: accuracies by curve, column, draw and seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

from rewire.article.counts import Count, counted
from rewire.article.results import CurveRow, Pruned, Ratios
from rewire.errors import InputError
from rewire.record import Record

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


@dataclass(frozen=True)
class Finished:
    """A finished cell of a stage, in `folder`."""

    network: str
    head: str
    seed: int
    profile: str
    folder: Path


@dataclass(frozen=True)
class Outdated(Finished):
    """A cell of another network than is there; `command` makes it anew."""

    command: str


Metrics = TypeVar("Metrics", bound=Record)
Cell = TypeVar("Cell", bound=Finished)


@dataclass(frozen=True)
class Measured(Finished, Generic[Metrics]):
    """A cell and its metrics.json."""

    metrics: Metrics


@dataclass(frozen=True)
class Point:
    """One pruned network on the test images.

    Attributes:
        name: e.g. "absolute".
        draw: number of the draw of images behind the activated metric.
        evaluation: "E1" (unclipped) or "E2" (clipped).
        ratios: as configured; empty for a point of a curve.
        sparsity: realised share over the pruned matrices.
        counts: column → counts.
        validation: counts on the clean held-out images, None if not given.
        ratio: of a point of a curve.
    """

    name: str
    draw: int
    evaluation: str
    ratios: Ratios
    sparsity: float
    counts: Mapping[str, Count]
    validation: Count | None
    ratio: float | None = None


@dataclass(frozen=True)
class Run(Measured[Pruned]):
    """What `article_curves` measured on one network; ratios are true shares, accuracies in [0, 1].

    Attributes:
        rows: of its curves.csv.
    """

    rows: Sequence[CurveRow]

    @property
    def vectors(self) -> tuple[str, ...]:
        """The article's eight vectors for this network."""
        return VECTORS[self.network]

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """In the order of metrics.json."""
        return tuple(
            Point(
                name=point.point,
                draw=point.draw,
                evaluation=point.evaluation,
                ratios=point.ratios,
                sparsity=point.sparsity,
                counts=counted(point, self.metrics.columns),
                validation=(held.correct, held.images) if (held := point.validation) else None,
            )
            for point in self.metrics.points
        )

    @cached_property
    def counts(self) -> Mapping[tuple[str, str, str], Mapping[int, Mapping[float, Count]]]:
        """(curve, evaluation, column) → draw → ratio → counts."""
        counts: dict[tuple[str, str, str], dict[int, dict[float, Count]]] = {}
        for row in self.rows:
            if not 0 <= row.correct <= row.images or not row.images:
                raise InputError(f"{row.correct} of {row.images} images are correct: impossible.")
            lines = counts.setdefault((row.curve, row.evaluation, row.column), {})
            lines.setdefault(row.draw, {})[as_ratio(row.ratio)] = row.correct, row.images
        return counts

    @cached_property
    def sparsities(self) -> Mapping[str, Mapping[float, float]]:
        """Curve → ratio → realised share, averaged over draws."""
        found: dict[str, dict[float, dict[int, float]]] = {}
        for row in self.rows:
            ratios = found.setdefault(row.curve, {})
            ratios.setdefault(as_ratio(row.ratio), {})[row.draw] = row.sparsity
        return {
            curve: {ratio: mean(each.values()) for ratio, each in sorted(ratios.items())}
            for curve, ratios in found.items()
        }

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


def chosen(results: Iterable[Cell], *, network: str, head: str | None = None) -> list[Cell]:
    """The results of one network and head (None: all), by head and seed.

    Raises:
        InputError: for two results of one cell, or results of more than one profile.
    """
    found = [r for r in results if r.network == network and head in (None, r.head)]
    cells = sorted((result.head, result.seed) for result in found)
    if len(set(cells)) < len(cells):
        raise InputError(f"more than one result of a cell: {cells}. Allowed: one of each.")
    profiles = {result.profile for result in found}
    if len(profiles) > 1:
        raise InputError(f"results of profiles {sorted(profiles)}. Allowed: one at a time.")
    return sorted(found, key=lambda result: (result.head, result.seed))


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


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean; None without any value, or with one missing."""
    values = list(values)
    there = [value for value in values if value is not None]
    return mean(there) if there and len(there) == len(values) else None


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


def as_ratio(value: float) -> float:
    """A ratio as key: 0.1 + 0.2 and 0.3 are the same."""
    return round(float(value), 6)


def kept_ratios(
    clean: Mapping[float, float], *, unpruned: float, loss: float = CLEAN_LOSS
) -> list[float]:
    """Ratios at which clean accuracy is at most `loss` below the unpruned network's."""
    return [ratio for ratio, value in clean.items() if value >= unpruned - loss - 1e-9]
