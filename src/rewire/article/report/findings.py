"""Headlines of the article, each drawn from a table that the page shows in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rewire.article.report.best_performance import STEPS, Ordering
from rewire.article.report.claims import ScoredClaim
from rewire.article.report.noise_rows import AdaptiveRow
from rewire.article.report.runs import mean
from rewire.reporting.html.findings import NOT_JUDGED, agreement, tone
from rewire.reporting.html.model import Finding
from rewire.reporting.table import COMPARABLE_PROFILE, Table


def article_findings(
    table: Table,
    order: Ordering,
    claims: Sequence[ScoredClaim],
    adaptive: Sequence[AdaptiveRow],
) -> tuple[Finding, ...]:
    """The article in a few sentences; those without data are left out."""
    found = [
        _ordering(order),
        _claims(claims),
        agreement(table, "accuracy under noise"),
        _adaptive(adaptive),
    ]
    return tuple(finding for finding in found if finding)


def _ordering(order: Ordering) -> Finding | None:
    if not order.seeds:
        return None
    centres = {name: mean(values) for name, values in order.means.items()}
    means = ", ".join(f"{name} {value:.2f}" for name, value in centres.items())
    ranks = all(centres[less] < centres[more] for more, less in STEPS)
    n = len(order.seeds)
    comparable = order.profile == COMPARABLE_PROFILE
    verdict = order.verdict if comparable else NOT_JUDGED
    return Finding(
        text="Does pruning help against fixed noise, activated values more than absolute ones? "
        f"Our means {'rank so' if ranks else 'do not rank so'}: {order.claim}.",
        verdict=verdict,
        evidence=(
            f"Mean accuracy of the eight vectors, %: {means}; {n} {'seed' if n == 1 else 'seeds'}.",
        ),
        anchor="article_table1",
        tone=tone(verdict),
    )


def _claims(claims: Sequence[ScoredClaim]) -> Finding | None:
    counts = Counter(claim.verdict for claim in claims)
    if not any(claim.seeds for claim in claims):
        return None
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    judged = any(verdict in counts for verdict in ("supported", "not supported"))
    return Finding(
        text=f"Of the article's {len(claims)} claims: {said}.",
        verdict="judged" if judged else NOT_JUDGED,
        evidence=("Each has a criterion that was fixed beforehand, and its numbers.",),
        anchor="claims",
    )


def _adaptive(rows: Sequence[AdaptiveRow]) -> Finding | None:
    kept = {(row.head, row.point): row.kept for row in rows if row.kept is not None}
    if not kept:
        return None
    texts = [f"{head}, {point}: {value:.0f} %" for (head, point), value in kept.items()]
    low, high = min(kept.values()), max(kept.values())
    return Finding(
        text=f"Of the gain {low:.0f} to {high:.0f} % remain under noise made anew on the pruned "
        "networks.",
        verdict="beyond the article",
        evidence=("; ".join(texts) + ".",),
        anchor="article_adaptive_ann",
    )
