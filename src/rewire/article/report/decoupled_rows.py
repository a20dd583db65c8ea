"""Rows on the decoupled network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rewire.article.report.runs import CLEAN


def decoupled_rows(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Clean and noised accuracy of the decoupled networks, before and after pruning.

    Args:
        results: of `article_decoupled`: {"network", "head", "seed", "profile", "metrics"}.

    Returns:
        One row per network and pruning: what was pruned, by which metric, how far, and the
        accuracy in percent without noise, under each vector, and as the author's code judged it.
    """
    rows = []
    for result in results:
        metrics = result["metrics"]
        for point in metrics["points"]:
            row = {
                "head": result["head"],
                "seed": result["seed"],
                "pruned": point["point"],
                "metric": point["metric"],
                "ratio %": round(100 * point["ratio"], 6),
            }
            for place, column in enumerate(metrics["columns"]):
                name = "clean" if column == CLEAN else column
                row[f"{name} %"] = 100 * point["correct"][place] / point["images"][place]
            row["clean as run %"] = 100 * point["as_run"][0] / point["images"][0]
            rows.append(row)
    return rows
