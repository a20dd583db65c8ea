"""Headlines, each drawn from a table that the page shows in full."""

from __future__ import annotations

from rewire.reporting.html.model import BAD, GOOD, OPEN, Finding
from rewire.reporting.render import difference_text, interval_text, value_text
from rewire.reporting.table import COMPARABLE_PROFILE, DIFFERS, WITHIN, Cell, Table

REPRODUCED, IN_PART, NOT_REPRODUCED = "reproduced", "in part", "not reproduced"
NOT_JUDGED = "not judged at this scale"
TONES = {
    REPRODUCED: GOOD, "supported": GOOD, "confirmed": GOOD, WITHIN: GOOD, "no flag": GOOD,
    NOT_REPRODUCED: BAD, "not supported": BAD, "refuted": BAD, DIFFERS: BAD, "flagged": BAD,
}  # fmt: skip


def tone(verdict: str) -> str:
    """How a verdict is coloured."""
    return TONES.get(verdict, OPEN)


def agreement(table: Table | None, subject: str, metric: str = "") -> Finding | None:
    """How many numbers of a table lie within its tolerance; the first of them as an example.

    Args:
        table: filled, None if there is none.
        subject: what does or does not reproduce.
        metric: how the metrics begin of the rows that are meant; empty for all.
    """
    if table is None:
        return None
    rows = zip(table.spec.rows, table.rows(), strict=True)
    compared = [
        cell
        for row, cells in rows
        if row.metric.startswith(metric)
        for cell in cells
        if cell.difference is not None
    ]
    if not compared:
        return None
    within = sum(cell.verdict == WITHIN for cell in compared)
    first = compared[0]
    evidence = (f"For example {first.row}, {first.column}: {_beside(first)}.",)
    if table.profile != COMPARABLE_PROFILE:
        low, high = (f(compared, key=lambda cell: cell.difference or 0) for f in (min, max))
        several = f"{len(compared)} numbers stand beside published ones, {difference_text(low)} to"
        return Finding(
            text=f"Does {subject} reproduce? {several} {difference_text(high)} points from them."
            if len(compared) > 1
            else f"Does {subject} reproduce? One number stands beside a published one.",
            verdict=NOT_JUDGED,
            evidence=evidence,
            anchor=table.spec.name,
        )
    verdict = {len(compared): REPRODUCED, 0: NOT_REPRODUCED}.get(within, IN_PART)
    return Finding(
        text=f"Does {subject} reproduce? {within} of {len(compared)} numbers lie within the "
        "tolerance of the published ones.",
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
