"""What `conf/article/curves` asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from rewire.pruning.values import NEED_MEANS, Ratio, combined_ratios

COMBINED = ("absolute", "activated")
SAMPLED = (*NEED_MEANS, "random")

Pruning = Mapping[str, Ratio]
"""Metric → how far it prunes; what any of them removes goes."""


@dataclass(frozen=True)
class Curve:
    """One curve as configured: see the comments of `conf/article/curves`."""

    metric: str
    matrices: list[str] | None
    grid: str
    draws: int
    count: int | None
    fresh: bool
    offset: float
    include_output: bool
    evaluations: list[str]
    images: int | None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics whose rankings it needs."""
        return COMBINED if self.metric == "combined" else (self.metric,)

    def pruning(self, ratio: float) -> Pruning:
        """What is pruned at a ratio of the grid."""
        if self.metric == "combined":
            return combined_ratios(ratio, offset=self.offset)
        return {self.metric: ratio}


def curves_of(options: Mapping[str, Any]) -> dict[str, Curve]:
    """The configured curves by name."""
    curves = {}
    for name, own in options["list"].items():
        curve = Curve(**{**options["common"], **own})
        draws = draws_of(curve.metrics, curve.draws, options)
        curves[name] = replace(curve, draws=draws)
    return curves


def grid(options: Mapping[str, Any], name: str) -> list[float]:
    """The ratios of a grid in ascending order, exact decimals.

    Args:
        options: `curves` with grids, step_factor and keep.
        name: of the grid.
    """
    kept = {Decimal(str(ratio)) for ratio in options["keep"]}
    ratios = set()
    for segment in options["grids"][name]:
        first, last, step = (Decimal(str(value)) for value in segment)
        count = int((last - first) / step) + 1
        every = [first + place * step for place in range(count)]
        ratios |= {*every[:: options["step_factor"]], *(kept & set(every))}
    return [float(ratio) for ratio in sorted(ratios)]


def draws_of(metrics: Iterable[str], asked: int, options: Mapping[str, Any]) -> int:
    """How many draws there are: 1 for metrics without chance."""
    most = asked if options["most_draws"] is None else options["most_draws"]
    return min(asked, most) if set(metrics) & set(SAMPLED) else 1
