"""Rows on the decoupled network."""

from __future__ import annotations

from collections.abc import Iterable

from rewire.article.counts import percents
from rewire.article.report.noise_rows import Row
from rewire.article.report.runs import CLEAN, Measured
from rewire.article.results import Decoupled


def decoupled_rows(results: Iterable[Measured[Decoupled]]) -> list[Row]:
    """Clean and noised accuracy of the decoupled networks, before and after pruning.

    Returns:
        One row per network and pruning: what was pruned, by which metric, how far, and the
        accuracy in percent without noise, under each vector, and as the author's code judged it.
    """
    rows = []
    for result in results:
        for point in result.metrics.points:
            row: Row = {
                "head": result.head,
                "seed": result.seed,
                "pruned": point.point,
                "metric": point.metric,
                "ratio %": round(100 * point.ratio, 6),
            }
            for column, percent in zip(result.metrics.columns, percents(point), strict=True):
                row["clean %" if column == CLEAN else f"{column} %"] = percent
            row["clean as run %"] = 100 * point.as_run[0] / point.images[0]
            rows.append(row)
    return rows
