"""A document's tables as a tracked run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from rewire.pipeline.common import Common
from rewire.reporting.table import Table
from rewire.tracking import Tracker, track


def tracked_tables(
    config: Common, axes: Mapping[str, list], *, document: str, stage: str
) -> AbstractContextManager[Tracker]:
    """The tracked run of a document's tables and figures."""
    profile, tracking = config.profile.name, config.tracking
    return track(
        tracking.mode,
        project=tracking.project,
        folder=tracking.folder,
        system_metrics=tracking.system_metrics,
        group="tables",
        job_type=stage,
        name=f"{document}-{profile}",
        tags=[profile],
        config={"axes": axes, "profile": profile},
    )


def track_table(table: Table, tracker: Tracker) -> None:
    """Log the cells of a filled table."""
    columns = ["row", "column", "ours", "published", "n", "verdict"]
    rows = [[getattr(cell, name) for name in columns] for cell in table.cells]
    tracker.table(table.spec.name, columns, rows)
