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


def agreement(table: Table | None, subject: str) -> Finding | None:
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
        low, high = (f(compared, key=lambda cell: cell.difference or 0) for f in (min, max))
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
