"""The table of pairs of rewiring strategies: Markdown, CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewire.evaluation.paired import MARGIN
from rewire.files import GAP, csv_text, write_json, write_text
from rewire.reporting.text_tables import markdown_table
from rewire.thesis.report.paired_rows import (
    AT_CHANCE,
    BOOTSTRAP,
    COLUMNS,
    MCNEMAR,
    NEITHER,
    Row,
)

NAME = "thesis_paired"
TITLE = "Rewiring strategies compared image by image"


def paired_markdown(rows: Sequence[Row], *, note: str, margin: float = MARGIN) -> str:
    """Title, the profile in words, the table, and how to read it; says so if there is no pair."""
    head = f"# {TITLE}\n\n**{note.strip()}**\n\n"
    if not rows:
        return head + "No pair: fewer than two strategies of a cell have been evaluated.\n"
    lines = "\n".join(f"- {line}" for line in explanation(rows, margin))
    return f"{head}{markdown_table([shown(row) for row in rows])}\nHow to read it:\n\n{lines}\n"


def paired_csv(rows: Sequence[Row]) -> str:
    """One line per row; what there is not is "n/a"."""
    return csv_text(COLUMNS, ([_plain(getattr(row, column)) for column in COLUMNS] for row in rows))


def write_paired_table(
    rows: Sequence[Row],
    folder: str | Path,
    *,
    profile: str,
    note: str,
    outdated: Sequence[str] = (),
) -> list[Path]:
    """Write thesis_paired.md, .csv and .json into `folder`; returns the three paths.

    `outdated` are the commands for ledgers that are left out; the text names them.
    """
    stem = Path(folder) / NAME
    text = paired_markdown(rows, note=note)
    for command in outdated:
        text += f"\nOutdated, hence left out: run `{command}`.\n"
    write_text(stem.with_suffix(".md"), text)
    write_text(stem.with_suffix(".csv"), paired_csv(rows))
    value = {
        "table": NAME,
        "profile": profile,
        "margin": MARGIN,
        "rows": [row.as_json() for row in rows],
    }
    write_json(stem.with_suffix(".json"), value)
    return [stem.with_suffix(suffix) for suffix in (".md", ".csv", ".json")]


def shown(row: Row) -> dict[str, str]:
    """A row as people read it."""
    same = {
        "cell": row.cell,
        "variant": row.variant,
        "accuracy": row.measure,
        "pair": f"{row.strategy} - {row.baseline}",
    }
    low, high = row.ci95_low, row.ci95_high
    if low is None or high is None:
        compared = dict.fromkeys(("difference [95 %], points", "varies over"), GAP)
        counted = {"images": f"{row.images:,}", "seeds": str(row.seeds)}
        tested = dict.fromkeys(("only one right", "p", "p, Holm"), GAP)
        return same | compared | counted | tested | {"verdict": row.verdict}
    number = "+z.1f" if high - low >= 2 else "+z.2f"
    return same | {
        "difference [95 %], points": f"{row.difference:{number}} [{low:{number}}, {high:{number}}]",
        "varies over": row.interval or GAP,
        "images": f"{row.images:,}",
        "seeds": str(row.seeds),
        "only one right": f"{row.only_strategy:,} : {row.only_baseline:,}",
        "p": f"{_probability(row.p)} ({row.test})",
        "p, Holm": _probability(row.p_holm),
        "verdict": row.verdict,
    }


def explanation(rows: Sequence[Row], margin: float = MARGIN) -> list[str]:
    """Sentences on what a row holds."""
    kinds = {row.test for row in rows}
    tested = sum(row.p is not None for row in rows)
    lines = [
        "The difference is accuracy of the first strategy minus that of the second; positive: the "
        "first one is better. Clean accuracy is compared on all test images, robust accuracy on "
        "those that both were attacked on.",
        "Only one right: images (summed over seeds) that only the first : only the second one gets "
        "right; the others do not tell the strategies apart.",
        "Intervals are percentiles of a bootstrap in which both strategies keep the same seeds and "
        "images; two imaginary images, one for either side, keep them honest where few differ.",
    ]
    if MCNEMAR in kinds:
        lines.append(
            "One seed: McNemar's exact test of these two networks; interval and verdict are blind "
            "to what another training would give."
        )
    if BOOTSTRAP in kinds:
        lines.append(
            "Several seeds: p-value of the bootstrap over seeds and images. McNemar's counts "
            "pooled over seeds would not be independent; its p of every seed is in the JSON file. "
            "Intervals of two or three seeds are too narrow where trainings differ by far more "
            "than images do."
        )
    if any(row.verdict.startswith(AT_CHANCE) for row in rows):
        lines.append(
            f"{AT_CHANCE.capitalize()}: without an attack the network is right no more often than "
            "an answer that is always the same. No attack fools such an answer, so that its robust "
            "accuracy means nothing: not compared."
        )
    if any(row.verdict.startswith(NEITHER) for row in rows):
        lines.append(
            f"{NEITHER.capitalize()} {margin:g} %: no network of either strategy is right on so "
            "many images, so that they cannot be further apart: not compared."
        )
    lines += [
        f"Holm: corrected for all {tested} comparisons of this table; the verdicts are not.",
        f"Equivalent: the 90 % interval lies inside ±{margin:g} points (two one-sided tests at "
        "5 %). Different: the 95 % interval excludes 0. Undecided: neither; more images or seeds "
        "are needed.",
    ]
    return lines


def _probability(p: float | None) -> str:
    return GAP if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _plain(value: Any) -> Any:
    return f"{value:z.6g}" if isinstance(value, float) else value
