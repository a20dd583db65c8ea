"""Headlines of the article, each drawn from a table that the page shows in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rewire.article.report.best_performance import STEPS
from rewire.article.report.runs import mean
from rewire.reporting.html.findings import NOT_JUDGED, agreement, tone
from rewire.reporting.html.model import Finding
from rewire.reporting.table import COMPARABLE_PROFILE, Table


def article_findings(
    table: Table,
    order: Mapping[str, Any],
    claims: Sequence[Mapping[str, Any]],
    adaptive: Sequence[Mapping[str, Any]],
) -> tuple[Finding, ...]:
    """The article in a few sentences; those without data are left out.

    Args:
        table: its table, filled.
        order: of `article_table.ordering`.
        claims: of `article_claims.score_claims`.
        adaptive: of `article_rows.adaptive_rows`.
    """
    found = [
        _ordering(order),
        _claims(claims),
        agreement(table, "accuracy under noise"),
        _adaptive(adaptive),
    ]
    return tuple(finding for finding in found if finding)


def _ordering(order: Mapping[str, Any]) -> Finding | None:
    if not order["seeds"]:
        return None
    centres = {name: mean(values) for name, values in order["means"].items()}
    means = ", ".join(f"{name} {value:.2f}" for name, value in centres.items())
    ranks = all(centres[less] < centres[more] for more, less in STEPS)
    n = len(order["seeds"])
    comparable = order["profile"] == COMPARABLE_PROFILE
    verdict = order["verdict"] if comparable else NOT_JUDGED
    return Finding(
        text="Does pruning help against fixed noise, activated values more than absolute ones? "
        f"Our means {'rank so' if ranks else 'do not rank so'}: {order['claim']}.",
        verdict=verdict,
        evidence=(
            f"Mean accuracy of the eight vectors, %: {means}; {n} {'seed' if n == 1 else 'seeds'}.",
        ),
        anchor="article_table1",
        tone=tone(verdict),
    )


def _claims(claims: Sequence[Mapping[str, Any]]) -> Finding | None:
    counts = Counter(claim["verdict"] for claim in claims)
    if not any(claim["seeds"] for claim in claims):
        return None
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    judged = any(verdict in counts for verdict in ("supported", "not supported"))
    return Finding(
        text=f"Of the article's {len(claims)} claims: {said}.",
        verdict="judged" if judged else NOT_JUDGED,
        evidence=("Each has a criterion that was fixed beforehand, and its numbers.",),
        anchor="claims",
    )


def _adaptive(rows: Sequence[Mapping[str, Any]]) -> Finding | None:
    kept = [row for row in rows if row["gain kept %"] is not None]
    if not kept:
        return None
    texts = [f"{row['head']}, {row['point']}: {row['gain kept %']:.0f} %" for row in kept]
    low, high = min(r["gain kept %"] for r in kept), max(r["gain kept %"] for r in kept)
    return Finding(
        text="Noise made anew on the pruned networks takes part of the gain back: "
        f"{low:.0f} to {high:.0f} % of it remain.",
        verdict="beyond the article",
        evidence=("; ".join(texts) + ".",),
        anchor="article_adaptive_ann",
    )
