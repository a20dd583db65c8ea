"""What `conf/article/curves` asks for, checked before anything is computed (second document)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from rewire.attacks.checks import check_count, check_real
from rewire.attacks.universal import EVALUATIONS
from rewire.errors import InputError, unknown_name
from rewire.pruning.values import METRICS, NEED_MEANS, Ratio, combined_ratios

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
    """The configured curves by name, refused before anything is computed.

    Raises:
        InputError: for an unknown key or name, or a value that is not allowed.
    """
    allowed = [field.name for field in fields(Curve)]
    curves = {}
    for name, own in options["list"].items():
        settings = {**options["common"], **own}
        for key in settings:
            if key not in allowed:
                raise unknown_name(f"setting of curves.list.{name}", key, allowed)
        curve = Curve(**settings)
        for metric in curve.metrics:
            METRICS[metric]  # refuses an unknown name
        _check_evaluations(curve.evaluations)
        check_real(f"offset of curves.list.{name}", curve.offset, above=-1, at_most=1)
        if curve.grid not in options["grids"]:
            raise unknown_name(f"grid of curves.list.{name}", curve.grid, options["grids"])
        grid(options, curve.grid)
        draws = draws_of(curve.metrics, curve.draws, options)
        curves[name] = Curve(**{**vars(curve), "draws": draws})
    return curves


def points_of(options: Mapping[str, Any]) -> dict[str, Pruning]:
    """The configured points by name, refused before anything is computed.

    Raises:
        InputError: for an unknown metric or evaluation, or a ratio outside [0, 1].
    """
    points = options["points"]
    _check_evaluations(points["evaluations"])
    for name, pruning in points["list"].items():
        for metric, ratio in pruning.items():
            METRICS[metric]  # refuses an unknown name
            for value in ratio.values() if isinstance(ratio, Mapping) else (ratio,):
                if not isinstance(value, int | float) or not 0 <= value <= 1:
                    raise InputError(
                        f"a pruning ratio of curves.points.list.{name} is {value!r}. "
                        "Allowed: from 0 to 1."
                    )
    return points["list"]


def grid(options: Mapping[str, Any], name: str) -> list[float]:
    """The ratios of a grid in ascending order, exact decimals.

    Args:
        options: `curves` with grids, step_factor and keep.
        name: of the grid.

    Raises:
        InputError: for a segment that is not [first, last, step], a ratio outside [0, 1], or a
            step factor below 1.
    """
    check_count("curves.step_factor", options["step_factor"])
    kept = {Decimal(str(ratio)) for ratio in options["keep"]}
    ratios = set()
    for segment in options["grids"][name]:
        try:
            first, last, step = (Decimal(str(value)) for value in segment)
            count = int((last - first) / step) + 1
        except (ArithmeticError, TypeError, ValueError) as error:
            raise _bad_segment(name, segment) from error
        if step <= 0 or not 0 <= first <= last <= 1:
            raise _bad_segment(name, segment)
        every = [first + place * step for place in range(count)]
        ratios |= {*every[:: options["step_factor"]], *(kept & set(every))}
    return [float(ratio) for ratio in sorted(ratios)]


def _bad_segment(name: str, segment: object) -> InputError:
    return InputError(
        f"curves.grids.{name} has a segment {segment}. Allowed: [first ratio, last ratio, step] "
        "with 0 <= first <= last <= 1 and a positive step."
    )


def _check_evaluations(names: Sequence[str]) -> None:
    if not names:
        raise InputError("no noise evaluation of a curve or point. Allowed: at least one.")
    for name in names:
        EVALUATIONS[name]  # refuses an unknown name


def draws_of(metrics: Iterable[str], asked: int, options: Mapping[str, Any]) -> int:
    """How many draws there are: 1 for metrics without chance."""
    check_count("a number of draws in curves", asked)
    most = asked if options["most_draws"] is None else options["most_draws"]
    check_count("curves.most_draws", most)
    return min(asked, most) if set(metrics) & set(SAMPLED) else 1
