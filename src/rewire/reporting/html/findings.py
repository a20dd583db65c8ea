"""Headlines of both documents, each drawn from a table that the page shows in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rewire.reporting.blog_data import mean
from rewire.reporting.blog_table import STEPS
from rewire.reporting.cells import COMPARABLE_PROFILE, DIFFERS, WITHIN, Cell, Table
from rewire.reporting.html.model import BAD, GOOD, OPEN, Finding
from rewire.reporting.render import difference_text, interval_text, value_text

REPRODUCED, IN_PART, NOT_REPRODUCED = "reproduced", "in part", "not reproduced"
NOT_JUDGED = "not judged at this scale"
TONES = {
    REPRODUCED: GOOD, "supported": GOOD, "confirmed": GOOD, WITHIN: GOOD, "no flag": GOOD,
    NOT_REPRODUCED: BAD, "not supported": BAD, "refuted": BAD, DIFFERS: BAD, "flagged": BAD,
}  # fmt: skip

Paired = Sequence[Mapping[str, Any]]


def tone(verdict: str) -> str:
    """How a verdict is coloured."""
    return TONES.get(verdict, OPEN)


def thesis_findings(
    tables: Mapping[str, Table], paired: Paired, audits: Sequence[Mapping[str, Any]]
) -> tuple[Finding, ...]:
    """The thesis in a few sentences; those without data are left out.

    Args:
        tables: name → filled table.
        paired: rows of the table of pairs.
        audits: metrics of stage `audit`, one per cell that was examined.
    """
    found = [
        _order(tables.get("thesis_table1")),
        _agreement(tables.get("thesis_table2"), "Test accuracy"),
        _pairs(paired, "clean"),
        _agreement(tables.get("thesis_table3"), "Robust accuracy"),
        _pairs(paired, "robust"),
        _examined(audits),
    ]
    return tuple(finding for finding in found if finding)


def article_findings(
    table: Table,
    order: Mapping[str, Any],
    claims: Sequence[Mapping[str, Any]],
    adaptive: Sequence[Mapping[str, Any]],
) -> tuple[Finding, ...]:
    """The article in a few sentences; those without data are left out.

    Args:
        table: its table, filled.
        order: of `blog_table.ordering`.
        claims: of `blog_claims.score_claims`.
        adaptive: of `blog_rows.adaptive_rows`.
    """
    found = [
        _ordering(order),
        _claims(claims),
        _agreement(table, "Accuracy under noise"),
        _adaptive(adaptive),
    ]
    return tuple(finding for finding in found if finding)


def _order(table: Table | None) -> Finding | None:
    """Do the columns rank as they were published, row by row?"""
    if table is None:
        return None
    kept, texts = [], []
    for row, cells in zip(table.spec.rows, table.rows(), strict=True):
        known = [cell for cell in cells if cell.published is not None and cell.ours is not None]
        if len(known) < 2:
            continue
        known.sort(key=lambda cell: cell.published)
        kept.append(all(a.ours < b.ours for a, b in pairwise(known)))
        ours = " < ".join(value_text(cell) for cell in known)
        published = " < ".join(f"{cell.published:g}" for cell in known)
        sign = "as published" if kept[-1] else "other order"
        if not kept[-1]:
            ours = ours.replace(" < ", ", ")
        texts.append(f"{row.label}: {ours} {table.spec.unit} ({sign}: {published})")
    if not kept:
        return None
    verdict = REPRODUCED if all(kept) else IN_PART if any(kept) else NOT_REPRODUCED
    verdict = verdict if table.profile == COMPARABLE_PROFILE else NOT_JUDGED
    return Finding(
        text="Do weights that grow back next to living ones leave more vectors empty? The "
        f"strategies rank as published in {sum(kept)} of {len(kept)} rows.",
        verdict=verdict,
        evidence=tuple(texts),
        anchor=table.spec.name,
        tone=tone(verdict),
    )


def _agreement(table: Table | None, subject: str) -> Finding | None:
    """How many numbers of a table lie within its tolerance; the first of them as an example."""
    if table is None:
        return None
    compared = [cell for cell in table.cells if cell.difference is not None]
    if not compared:
        return None
    within = sum(cell.verdict == WITHIN for cell in compared)
    first = compared[0]
    evidence = (f"For example {first.row}, {first.column}: {_beside(first)}.",)
    if table.profile != COMPARABLE_PROFILE:
        low, high = (f(compared, key=lambda cell: cell.difference) for f in (min, max))
        return Finding(
            text=f"{subject}: {len(compared)} numbers stand beside published ones, "
            f"{difference_text(low)} to {difference_text(high)} points from them.",
            verdict=NOT_JUDGED,
            evidence=evidence,
            anchor=table.spec.name,
        )
    verdict = {len(compared): REPRODUCED, 0: NOT_REPRODUCED}.get(within, IN_PART)
    return Finding(
        text=f"{subject}: {within} of {len(compared)} numbers lie within the tolerance of the "
        "published ones.",
        verdict=verdict,
        evidence=evidence,
        anchor=table.spec.name,
        tone=tone(verdict),
    )


def _beside(cell: Cell) -> str:
    interval = f" {interval_text(cell)}" if cell.ci95 else ""
    return (
        f"{value_text(cell)}{interval}, published {cell.published:g}, "
        f"difference {difference_text(cell)}"
    )


def _pairs(paired: Paired, measure: str) -> Finding | None:
    """What comparing trained networks image by image says, corrected for their number."""
    rows = [
        row
        for row in paired
        if (row["measure"], row["variant"]) == (measure, "trained") and row["p_holm"] is not None
    ]
    if not rows:
        return None
    distinct = [row for row in rows if row["p_holm"] < 0.05]
    widest = max(rows, key=lambda row: abs(row["difference"]))
    counts = Counter(row["verdict"] for row in rows)
    kinds = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    return Finding(
        text=f"Do strategies differ in {measure} accuracy? {len(distinct)} of {len(rows)} pairs "
        "of trained networks do after correction for their number.",
        verdict="measured at this scale",
        evidence=(
            f"Interval by interval: {kinds}. Largest difference: {widest['strategy']} - "
            f"{widest['baseline']} on {widest['cell']}, {widest['difference']:+.2f} points.",
        ),
        anchor="thesis_paired",
    )


def _examined(audits: Sequence[Mapping[str, Any]]) -> Finding | None:
    if not audits:
        return None
    flags = sum(len(found["flags"]) for found in audits)
    networks = f"{len(audits)} {'network' if len(audits) == 1 else 'networks'}"
    return Finding(
        text=f"Is the robust accuracy real? The attack was examined on {networks}: "
        f"{flags or 'no'} {'reason' if flags == 1 else 'reasons'} for doubt.",
        verdict="flagged" if flags else "no flag",
        evidence=(
            "Larger radii, more steps and restarts, plain noise, gradients, and images that fool "
            "another network.",
        ),
        anchor="sanity",
        tone=tone("flagged" if flags else "no flag"),
    )


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
        anchor="blog_table1",
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
        anchor="blog_adaptive_ann",
    )
