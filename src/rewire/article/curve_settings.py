"""From the configured curves and points to what is pruned at each ratio."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from rewire.article.configuration import Curve, Curves
from rewire.pruning.values import NEED_MEANS, Pruning, combined_ratios

COMBINED = ("absolute", "activated")
SAMPLED = (*NEED_MEANS, "random")


def ranked_by(curve: Curve) -> tuple[str, ...]:
    """The metrics whose rankings a curve needs."""
    return COMBINED if curve.metric == "combined" else (curve.metric,)


def pruning(curve: Curve, ratio: float) -> Pruning:
    """What is pruned at a ratio of the curve's grid."""
    if curve.metric == "combined":
        return combined_ratios(ratio, offset=curve.offset)
    return {curve.metric: ratio}


def curves_of(options: Curves) -> dict[str, Curve]:
    """The configured curves by name, with what is common and as many draws as there are."""
    curves = {}
    for name, own in options.list.items():
        curve = options.common.model_copy(update=own.model_dump(exclude_unset=True))
        draws = draws_of(ranked_by(curve), curve.draws, options)
        curves[name] = curve.model_copy(update={"draws": draws})
    return curves


def points_of(options: Curves) -> dict[str, Pruning]:
    """The configured points by name."""
    points = options.points.list
    return {name: point.model_dump(exclude_unset=True) for name, point in points.items()}


def grid(options: Curves, name: str) -> list[float]:
    """The ratios of a grid in ascending order, exact decimals."""
    kept = {Decimal(str(ratio)) for ratio in options.keep}
    ratios = set()
    for segment in options.grids[name]:
        first, last, step = (Decimal(str(value)) for value in segment)
        count = int((last - first) / step) + 1
        every = [first + place * step for place in range(count)]
        ratios |= {*every[:: options.step_factor], *(kept & set(every))}
    return [float(ratio) for ratio in sorted(ratios)]


def draws_of(metrics: Iterable[str], asked: int, options: Curves) -> int:
    """How many draws there are: 1 for metrics without chance."""
    most = asked if options.most_draws is None else options.most_draws
    return min(asked, most) if set(metrics) & set(SAMPLED) else 1
