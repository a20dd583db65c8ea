"""Tables of pruned networks, as rows for Markdown: controls, matched ratios.

Accuracies are in percent, averaged over draws, then over seeds; `seeds` says over how many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rewire.article.counts import accuracies
from rewire.article.report.best_performance import (
    METHODS,
    clean_accuracy,
    matched_points,
    mean_of_vectors,
)
from rewire.article.report.noise_rows import MEAN, Row, mean_percent, of_vectors
from rewire.article.report.runs import (
    CLEAN,
    VECTORS,
    Point,
    Run,
    at_ratio,
    chosen,
    mean,
)

CONTROLS = (
    *METHODS,
    "random",
    "mean_x",
    "activated_2000",
    "absolute_output",
    "activated_output",
)
"""Curves that are compared at equal ratios."""


def control_rows(
    runs: Sequence[Run],
    *,
    network: str = "ann",
    ratios: Sequence[float] = (0.8, 0.9),
    curves: Sequence[str] = CONTROLS,
) -> list[Row]:
    """Curves beside their controls at equal ratios: clean, and the mean of the eight vectors (E1).

    Args:
        runs: of any network.
        network: which one.
        ratios: true ratios; linear between two measured ones.
        curves: names in curves.csv; those that were not measured are left out.
    """
    found = chosen(runs, network=network)
    rows: list[Row] = []
    for head in dict.fromkeys(run.head for run in found):
        same = [run for run in found if run.head == head]
        for ratio in ratios:
            for curve in curves:
                each = [run for run in same if at_ratio(run.mean(curve, CLEAN), ratio) is not None]
                if not each:
                    continue
                rows.append(
                    {
                        "head": head,
                        "ratio %": 100 * ratio,
                        "pruning": curve,
                        "seeds": len(each),
                        "draws": max(len(run.draws(curve, CLEAN)) for run in each),
                        "sparsity %": _over([run.sparsities[curve] for run in each], ratio),
                        "clean": _over([run.mean(curve, CLEAN) for run in each], ratio),
                        MEAN: _over([run.mean_of_vectors(curve) for run in each], ratio),
                    }
                )
    return rows


def matched_rows(runs: Sequence[Run], *, network: str = "ann") -> list[Row]:
    """Absolute, activated and combined at matched clean accuracy, with the ratios they reach.

    Args:
        runs: of any network; how the ratio is chosen: `matched_points`.
        network: which one.
    """
    return _point_rows(runs, network, METHODS, matched_points)


def point_rows(
    runs: Sequence[Run], *, network: str, points: Sequence[str], evaluation: str = "E1"
) -> list[Row]:
    """Configured points of `article_curves`, e.g. "none" and "layers", a column per vector.

    Args:
        runs: of any network.
        network: which one.
        points: their names; those that were not measured are left out.
        evaluation: "E1" or "E2".
    """
    return _point_rows(runs, network, points, lambda run, name: run.at(name, evaluation))


def dead_pixel_rows(runs: Sequence[Run], *, network: str = "ann") -> list[Row]:
    """Pixels that are black in the whole metric sample: their weights pruned, their noise zeroed.

    Args:
        runs: of any network.
        network: which one.
    """
    values: dict[tuple[str, str], list[tuple[float, dict[str, float]]]] = {}
    for run in chosen(runs, network=network):
        dead = run.metrics.dead_pixels
        for kind, counts in dead.accuracy.items():
            found = accuracies(counts, run.metrics.columns)
            values.setdefault((run.head, kind), []).append((dead.pixels, found))
    rows = []
    for (head, kind), each in values.items():
        row: Row = {"head": head, "case": kind.replace("_", " "), "seeds": len(each)}
        row["black pixels"] = mean(pixels for pixels, _ in each)
        measured = [found for _, found in each]
        row |= {column: mean_percent(f.get(column) for f in measured) for column in measured[0]}
        rows.append(row | {MEAN: mean_percent(of_vectors(f, network) for f in measured)})
    return rows


def _point_rows(
    runs: Sequence[Run],
    network: str,
    names: Sequence[str],
    points_of: Callable[[Run, str], list[Point]],
) -> list[Row]:
    found = chosen(runs, network=network)
    rows = []
    for head in dict.fromkeys(run.head for run in found):
        for name in names:
            each = [points_of(run, name) for run in found if run.head == head]
            each = [points for points in each if points]
            if not each:
                continue
            row: Row = {"head": head, "pruning": name, "seeds": len(each)}
            row["draws"] = max(map(len, each))
            ratios = [[p.ratio for p in points if p.ratio is not None] for points in each]
            if all(ratios):
                row["ratio %"] = mean_percent(map(mean, ratios))
            row["sparsity %"] = mean_percent(mean(p.sparsity for p in points) for points in each)
            row[CLEAN] = mean_percent(clean_accuracy(points) for points in each)
            for vector in VECTORS[network]:
                row[vector] = mean_percent(mean_of_vectors(points, [vector]) for points in each)
            row[MEAN] = mean_percent(mean_of_vectors(p, VECTORS[network]) for p in each)
            rows.append(row)
    return rows


def _over(lines: Sequence[Mapping[float, float]], ratio: float) -> float | None:
    return mean_percent(at_ratio(line, ratio) for line in lines)
