"""The page of a folder of published results: tables, pictures, and what was run where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewire.provenance import Provenance, hours
from rewire.reporting.text_tables import markdown_table


def page(
    *,
    title: str,
    note: str,
    tables: Sequence[str],
    pictures: Sequence[tuple[str, Path]],
    cells: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Sequence[Provenance]],
    comment: str = "",
) -> str:
    """Markdown of the page.

    Args:
        title: its headline.
        note: the scale in words, which stands on top.
        tables: Markdown of each table, each with its own headline.
        pictures: (caption, path relative to the page).
        cells: rows of the overview, with equal keys.
        provenance: stage → the provenance of its runs.
        comment: Markdown that a person wrote about these results.
    """
    parts = [f"# {title}", f"**{note.strip()}**"]
    if comment.strip():
        parts.append(comment.strip())
    parts.append(_origin(provenance))
    if cells:
        parts += ["## What was run", markdown_table(cells).strip()]
    # The scale stands on top of the page, not above every table.
    repeated = f"**{note.strip()}**\n\n"
    parts += [table.replace(repeated, "", 1).strip().replace("# ", "## ", 1) for table in tables]
    if pictures:
        parts.append("## Pictures")
        parts += [f"{caption}\n\n![{caption}]({path.as_posix()})" for caption, path in pictures]
    return "\n\n".join(parts) + "\n"


def _origin(provenance: Mapping[str, Sequence[Provenance]]) -> str:
    """Hardware, versions, commits and wall-clock hours of every stage."""
    records = [record for several in provenance.values() for record in several]
    machines = sorted({record.machine for record in records})
    versions = sorted(
        {f"{name} {number}" for record in records for name, number in record.versions.items()}
    )
    lines = [f"- Machine: {'; '.join(machines)}.", f"- Versions: {', '.join(versions)}."]
    for stage, several in provenance.items():
        commits = sorted({str(record.commit) for record in several})
        lines.append(
            f"- {stage}: {len(several)} cells, {hours(several):.2f} hours of wall-clock time in "
            f"all, commit {', '.join(commits)}."
        )
    return "\n".join(lines)
