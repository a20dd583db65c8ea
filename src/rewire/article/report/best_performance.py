"""The article's table of best performances, and the order of its pruning methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewire.article.report.runs import (
    CLEAN,
    VALIDATION,
    Counts,
    Point,
    Run,
    as_ratio,
    chosen_runs,
    interval,
    kept_ratios,
    mean,
)
from rewire.evaluation.statistics import Accuracy
from rewire.reporting.build_table import Result

NETWORK = "ann"
METHODS = ("absolute", "activated", "combined")
POINTS = (CLEAN, *METHODS)
MEAN = "mean"  # column: mean over the eight vectors
CLAIM = "none < absolute < activated"
STEPS = (("absolute", CLEAN), ("activated", "absolute"))  # what `CLAIM` compares

Raw = Run | Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Performance(Result):
    """A result with the fields that Table 1 selects by."""

    head: str
    evaluation: str
    pruning: str
    column: str


def table1_results(runs: Iterable[Raw]) -> list[Performance]:
    """Results for `build_table` with conf/article/table/article_table1.yaml.

    Accuracies of one draw keep their counts, so that one seed gets a Wilson interval; several draws
    of the activated metric are averaged within the seed, and the mean of the eight vectors is no
    count of images: both are plain percentages.

    Args:
        runs: results of `article_curves`, see `as_run`; networks but the ANN are passed by.

    Returns:
        One result per head, seed, evaluation, pruning ("none", "absolute", ..., and "absolute
        matched", ... for `matched_points`) and column ("none", the eight vectors, "mean").
    """
    results = []
    for run in chosen_runs(runs, network=NETWORK):
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
        Points whose `ratios` is the chosen ratio; empty where the curve has no held-out column.
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
        points.append(Point(curve, draw, evaluation, ratio, sparsity, counts, held_out))
    return points


def unpruned_validation(run: Run, clean: Mapping[float, float]) -> float | None:
    """Held-out clean accuracy of the unpruned network: of point "none", else at ratio 0."""
    for point in run.at(CLEAN):
        if point.validation is not None:
            return point.validation[0] / point.validation[1]
    return clean.get(as_ratio(0))


def ordering(
    runs: Iterable[Raw], *, head: str = "lq", evaluation: str = "E1", network: str = NETWORK
) -> dict[str, Any]:
    """Whether no pruning < absolute < activated holds for the mean over the eight vectors.

    Means are over draws, then vectors, in percent; differences are paired within a seed, with
    two-sided 95 % Student-t intervals over seeds.

    Returns:
        `profile`, `seeds`, `means` (point → one number per seed), `differences` ("absolute - none",
        ... → `per_seed`, `mean`, `low`, `high`), and the `verdict` on `claim`: "confirmed" if both
        intervals lie above 0, "refuted" if one lies below, else "undecided", always for one seed.
    """
    means: dict[str, list[float]] = {name: [] for name in POINTS}
    seeds, profile = [], None
    for run in chosen_runs(runs, network=network, head=head):
        found = {name: mean_of_vectors(run.at(name, evaluation), run.vectors) for name in POINTS}
        if any(value is None for value in found.values()):
            continue
        seeds.append(run.seed)
        profile = run.profile
        for name, value in found.items():
            means[name].append(100 * value)
    differences = {
        f"{more} - {less}": _paired(means[more], means[less])
        for more, less in (*STEPS, ("combined", "activated"))
    }
    return {
        "claim": CLAIM,
        "network": network,
        "head": head,
        "evaluation": evaluation,
        "profile": profile,
        "unit": "% accuracy, mean over the eight vectors",
        "seeds": seeds,
        "means": means,
        "differences": differences,
        "verdict": _verdict([differences[f"{more} - {less}"] for more, less in STEPS]),
    }


def ordering_markdown(found: Mapping[str, Any], *, note: str) -> str:
    """`ordering` in a few lines of Markdown, with the profile's note."""
    n = len(found["seeds"])
    lines = [
        f"**{note.strip()}**",
        "",
        f"{found['network']}, head {found['head']}, {found['evaluation']}, "
        f"n = {n} {'seed' if n == 1 else 'seeds'}; {found['unit']}.",
        "",
    ]
    for name, values in found["means"].items():
        lines.append(f"- {name}: {f'{mean(values):.2f}' if values else 'not run'}")
    for name, difference in found["differences"].items():
        lines.append(f"- {name}: {_difference_text(difference)}")
    lines += ["", f"{found['claim']}: **{found['verdict']}**."]
    return "\n".join(lines) + "\n"


def mean_of_vectors(points: Sequence[Point], vectors: Sequence[str]) -> float | None:
    """Mean accuracy over vectors and draws; None without a draw or with a vector missing."""
    return _mean([_share(_draws(points, vector)) for vector in vectors])


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
        elif draws:
            metrics[column] = {"accuracy": 100 * _share(draws)}
    if (over_vectors := mean_of_vectors(points, vectors)) is not None:
        metrics[MEAN] = {"accuracy": 100 * over_vectors}
    return metrics


def _draws(points: Sequence[Point], column: str) -> list[Counts]:
    return [point.counts[column] for point in points if column in point.counts]


def _share(draws: Sequence[Counts]) -> float | None:
    return _mean([k / n for k, n in draws])


def _mean(values: Sequence[float | None]) -> float | None:
    return mean(values) if values and None not in values else None


def _paired(more: Sequence[float], less: Sequence[float]) -> dict[str, Any]:
    per_seed = [a - b for a, b in zip(more, less, strict=True)]
    nothing = {"mean": None, "low": None, "high": None, "n": 0}
    return {"per_seed": per_seed, **(interval(per_seed) if per_seed else nothing)}


def _verdict(differences: Sequence[Mapping[str, Any]]) -> str:
    if any(difference["n"] < 2 for difference in differences):
        return "undecided"
    if all(difference["low"] > 0 for difference in differences):
        return "confirmed"
    if any(difference["high"] < 0 for difference in differences):
        return "refuted"
    return "undecided"


def _difference_text(difference: Mapping[str, Any]) -> str:
    if difference["mean"] is None:
        return "not run"
    text = f"{difference['mean']:+.2f} points"
    if difference["low"] is None:
        return f"{text} (one seed, no interval)"
    return f"{text} [{difference['low']:+.2f}, {difference['high']:+.2f}]"
