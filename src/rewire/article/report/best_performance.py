"""The article's table of best performances, and the order of its pruning methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewire.article.counts import Count
from rewire.article.report.runs import (
    CLEAN,
    VALIDATION,
    Point,
    Run,
    as_ratio,
    chosen,
    kept_ratios,
    mean,
    mean_of,
)
from rewire.evaluation.statistics import Accuracy, mean_interval
from rewire.record import Record
from rewire.reporting.build_table import Result

NETWORK = "ann"
METHODS = ("absolute", "activated", "combined")
POINTS = (CLEAN, *METHODS)
MEAN = "mean"  # column: mean over the eight vectors
CLAIM = "none < absolute < activated"
STEPS = (("absolute", CLEAN), ("activated", "absolute"))  # what `CLAIM` compares


class Difference(Record):
    """Points between two means, paired within seeds, with the 95 % interval of two or more."""

    per_seed: list[float]
    mean: float | None
    low: float | None
    high: float | None
    n: int


class Ordering(Record):
    """Whether no pruning < absolute < activated holds for the mean over the eight vectors.

    Attributes:
        means: point → one number per seed.
        differences: "absolute - none", ... → theirs.
        verdict: on `claim`: "confirmed" if both intervals lie above 0, "refuted" if one lies below,
            else "undecided", always for one seed.
    """

    claim: str
    network: str
    head: str
    evaluation: str
    profile: str | None
    unit: str
    seeds: list[int]
    means: dict[str, list[float]]
    differences: dict[str, Difference]
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Performance(Result):
    """A result with the fields that Table 1 selects by."""

    head: str
    evaluation: str
    pruning: str
    column: str


def table1_results(runs: Sequence[Run]) -> list[Performance]:
    """Results for `build_table` with conf/article/table/article_table1.yaml.

    Accuracies of one draw keep their counts, so that one seed gets a Wilson interval; several draws
    of the activated metric are averaged within the seed, and the mean of the eight vectors is no
    count of images: both are plain percentages.

    Args:
        runs: of any network; those but the ANN are passed by.

    Returns:
        One result per head, seed, evaluation, pruning ("none", "absolute", ..., and "absolute
        matched", ... for `matched_points`) and column ("none", the eight vectors, "mean").
    """
    results = []
    for run in chosen(runs, network=NETWORK):
        pruned = {
            (name, evaluation): run.at(name, evaluation)
            for name in POINTS
            for evaluation in ("E1", "E2")
        }
        pruned |= {(f"{method} matched", "E1"): matched_points(run, method) for method in METHODS}
        for (pruning, evaluation), points in pruned.items():
            results += [
                Performance(
                    pruning=pruning,
                    evaluation=evaluation,
                    head=run.head,
                    seed=run.seed,
                    profile=run.profile,
                    column=column,
                    metrics={"test": metric},
                )
                for column, metric in _columns(points, run.vectors).items()
            ]
    return results


def matched_points(run: Run, curve: str, evaluation: str = "E1") -> list[Point]:
    """Every draw of a curve at its largest ratio that keeps the held-out clean accuracy.

    It may lose at most 0.65 points against the unpruned network on the same held-out images: the
    article's 98.0 of 98.65 %, which it chose on the test images. Every draw chooses by itself.

    Returns:
        Points at the chosen `ratio`; empty where the curve has no held-out column.
    """
    points = []
    for draw, clean in run.draws(curve, VALIDATION).items():
        unpruned = unpruned_validation(run, clean)
        kept = [] if unpruned is None else kept_ratios(clean, unpruned=unpruned)
        if not kept:
            continue
        ratio = max(kept)
        counts = {
            column: lines[draw][ratio]
            for (name, judged, column), lines in run.counts.items()
            if (name, judged) == (curve, evaluation) and column != VALIDATION
            if ratio in lines.get(draw, {})
        }
        held_out = run.counts[curve, "E1", VALIDATION][draw][ratio]
        sparsity = run.sparsities[curve][ratio]
        points.append(Point(curve, draw, evaluation, {}, sparsity, counts, held_out, ratio))
    return points


def unpruned_validation(run: Run, clean: Mapping[float, float]) -> float | None:
    """Held-out clean accuracy of the unpruned network: of point "none", else at ratio 0."""
    for point in run.at(CLEAN):
        if point.validation is not None:
            return point.validation[0] / point.validation[1]
    return clean.get(as_ratio(0))


def ordering(
    runs: Sequence[Run], *, head: str = "lq", evaluation: str = "E1", network: str = NETWORK
) -> Ordering:
    """Means over draws, then vectors, in percent, and their differences within seeds."""
    means: dict[str, list[float]] = {name: [] for name in POINTS}
    seeds, profile = [], None
    for run in chosen(runs, network=network, head=head):
        each = {name: mean_of_vectors(run.at(name, evaluation), run.vectors) for name in POINTS}
        found = {name: value for name, value in each.items() if value is not None}
        if len(found) < len(each):
            continue
        seeds.append(run.seed)
        profile = run.profile
        for name, value in found.items():
            means[name].append(100 * value)
    differences = {
        f"{more} - {less}": _paired(means[more], means[less])
        for more, less in (*STEPS, ("combined", "activated"))
    }
    return Ordering(
        claim=CLAIM,
        network=network,
        head=head,
        evaluation=evaluation,
        profile=profile,
        unit="% accuracy, mean over the eight vectors",
        seeds=seeds,
        means=means,
        differences=differences,
        verdict=_verdict([differences[f"{more} - {less}"] for more, less in STEPS]),
    )


def ordering_markdown(found: Ordering, *, note: str) -> str:
    """`ordering` in a few lines of Markdown, with the profile's note."""
    n = len(found.seeds)
    lines = [
        "# Order of the prunings",
        "",
        f"**{note.strip()}**",
        "",
        f"{found.network}, head {found.head}, {found.evaluation}, "
        f"n = {n} {'seed' if n == 1 else 'seeds'}; {found.unit}.",
        "",
    ]
    for name, values in found.means.items():
        lines.append(f"- {name}: {f'{mean(values):.2f}' if values else 'not run'}")
    for name, difference in found.differences.items():
        lines.append(f"- {name}: {_difference_text(difference)}")
    lines += ["", f"{found.claim}: **{found.verdict}**."]
    return "\n".join(lines) + "\n"


def mean_of_vectors(points: Sequence[Point], vectors: Sequence[str]) -> float | None:
    """Mean accuracy over vectors and draws; None without a draw or with a vector missing."""
    return mean_of([_share(_draws(points, vector)) for vector in vectors])


def clean_accuracy(points: Sequence[Point]) -> float | None:
    """Accuracy without noise, averaged over draws; None without a draw."""
    return _share(_draws(points, CLEAN))


def _columns(
    points: Sequence[Point], vectors: Sequence[str]
) -> dict[str, Accuracy | dict[str, float]]:
    """Column → metric; columns without results are left out."""
    metrics: dict[str, Accuracy | dict[str, float]] = {}
    for column in (CLEAN, *vectors):
        draws = _draws(points, column)
        if len(draws) == 1:
            correct, total = draws[0]
            metrics[column] = Accuracy.counted(correct, total)
        elif (share := _share(draws)) is not None:
            metrics[column] = {"accuracy": 100 * share}
    if (over_vectors := mean_of_vectors(points, vectors)) is not None:
        metrics[MEAN] = {"accuracy": 100 * over_vectors}
    return metrics


def _draws(points: Sequence[Point], column: str) -> list[Count]:
    return [point.counts[column] for point in points if column in point.counts]


def _share(draws: Sequence[Count]) -> float | None:
    return mean_of([k / n for k, n in draws])


def _paired(more: Sequence[float], less: Sequence[float]) -> Difference:
    per_seed = [a - b for a, b in zip(more, less, strict=True)]
    if not per_seed:
        return Difference(per_seed=[], mean=None, low=None, high=None, n=0)
    centre, half = mean_interval(per_seed)
    low, high = (None, None) if half is None else (centre - half, centre + half)
    return Difference(per_seed=per_seed, mean=centre, low=low, high=high, n=len(per_seed))


def _verdict(differences: Sequence[Difference]) -> str:
    intervals = [(d.low, d.high) for d in differences if d.low is not None and d.high is not None]
    if len(intervals) < len(differences):
        return "undecided"
    if all(low > 0 for low, _ in intervals):
        return "confirmed"
    return "refuted" if any(high < 0 for _, high in intervals) else "undecided"


def _difference_text(difference: Difference) -> str:
    if difference.mean is None:
        return "not run"
    text = f"{difference.mean:+.2f} points"
    if difference.low is None or difference.high is None:
        return f"{text} (one seed, no interval)"
    return f"{text} [{difference.low:+.2f}, {difference.high:+.2f}]"
