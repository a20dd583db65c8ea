"""Headlines of the thesis, each drawn from a table that the page shows in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import itemgetter

from rewire.reporting.html.findings import (
    IN_PART,
    NOT_JUDGED,
    NOT_REPRODUCED,
    REPRODUCED,
    agreement,
    tone,
)
from rewire.reporting.html.model import OPEN, Finding
from rewire.reporting.render import value_text
from rewire.reporting.table import COMPARABLE_PROFILE, ENOUGH_IMAGES, ROBUST, Table
from rewire.thesis.metrics import Examination
from rewire.thesis.report.paired_rows import Row


def thesis_findings(
    tables: Mapping[str, Table], paired: Sequence[Row], audits: Sequence[Examination]
) -> tuple[Finding, ...]:
    """The thesis in a few sentences; those without data are left out.

    Args:
        tables: name → filled table.
        paired: rows of the table of pairs.
        audits: metrics of stage `audit`, one per cell that was examined.
    """
    found = [
        _order(tables.get("thesis_table1")),
        agreement(tables.get("thesis_table2"), "test accuracy"),
        _pairs(paired, "clean", "What does it cost in test accuracy?"),
        agreement(tables.get("thesis_table3"), "robust accuracy", ROBUST),
        _pairs(paired, "robust", "Is any strategy more robust?"),
        _examined(audits) if audits else _unexamined(tables.get("thesis_table3")),
    ]
    return tuple(finding for finding in found if finding)


def _order(table: Table | None) -> Finding | None:
    """Do the columns rank as they were published, row by row?"""
    if table is None:
        return None
    kept, texts = [], []
    for row, cells in zip(table.spec.rows, table.rows(), strict=True):
        known = [
            (cell.published, cell.ours, value_text(cell))
            for cell in cells
            if cell.published is not None and cell.ours is not None
        ]
        if len(known) < 2:
            continue
        known.sort(key=itemgetter(0))
        kept.append(all(a < b for (_, a, _), (_, b, _) in pairwise(known)))
        ours = " < ".join(text for *_, text in known)
        published = " < ".join(f"{value:g}" for value, *_ in known)
        sign = "as published" if kept[-1] else "other order"
        if not kept[-1]:
            ours = ours.replace(" < ", ", ")
        texts.append(f"{row.label}: {ours} {table.spec.unit} ({sign}: {published})")
    if not kept:
        return None
    verdict = REPRODUCED if all(kept) else IN_PART if any(kept) else NOT_REPRODUCED
    verdict = verdict if table.profile == COMPARABLE_PROFILE else NOT_JUDGED
    return Finding(
        text="What does structure bring? Zero vectors, which need no work: the strategies rank as "
        f"published in {sum(kept)} of {len(kept)} rows.",
        verdict=verdict,
        evidence=tuple(texts),
        anchor=table.spec.name,
        tone=tone(verdict),
    )


def _pairs(paired: Sequence[Row], measure: str, question: str) -> Finding | None:
    """What comparing trained networks image by image says, corrected for their number."""
    rows = [
        row
        for row in paired
        if (row.measure, row.variant) == (measure, "trained") and row.p_holm is not None
    ]
    if not rows:
        return None
    distinct = [row for row in rows if row.p_holm is not None and row.p_holm < 0.05]
    widest = max(rows, key=lambda row: abs(row.difference or 0))
    counts = Counter(row.verdict for row in rows)
    kinds = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    return Finding(
        text=f"{question} {len(distinct)} of {len(rows)} pairs of trained networks differ in "
        f"{measure} accuracy, corrected for the number of pairs.",
        verdict="measured at this scale",
        evidence=(
            f"By each pair's own interval, uncorrected: {kinds}. Largest difference: "
            f"{widest.strategy} minus {widest.baseline} on {widest.cell}, "
            f"{widest.difference:+.2f} points.",
        ),
        anchor="thesis_paired",
    )


def _unexamined(table: Table | None) -> Finding | None:
    """Robust accuracies that nothing vouches for."""
    if table is None or not table.not_audited():
        return None
    return Finding(
        text="Is the robust accuracy real? The attack was not examined on any of these networks.",
        verdict="not examined",
        evidence=("What an attack leaves is an upper bound of what a stronger one would leave.",),
        anchor="sanity",
    )


def _examined(audits: Sequence[Examination]) -> Finding:
    flags = sum(len(found.flags) for found in audits)
    fewest = min(found.images for found in audits)
    few = fewest < ENOUGH_IMAGES
    coarse = ": few, only a coarse fault shows" if few else ""
    networks = f"{len(audits)} {'network' if len(audits) == 1 else 'networks'}"
    return Finding(
        text=f"Is the robust accuracy real? Sanity checks of the attack on {networks}: "
        f"{flags or 'no'} {'reason' if flags == 1 else 'reasons'} for doubt.",
        verdict="flagged" if flags else "no flag",
        evidence=(
            "Larger radii, more steps and restarts, plain noise, gradients, and images that fool "
            f"another network, on {fewest} images{coarse}.",
        ),
        anchor="sanity",
        tone=tone("flagged") if flags else OPEN if few else tone("no flag"),
    )
