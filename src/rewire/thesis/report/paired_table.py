"""Pairs of rewiring strategies on the same images: rows, Markdown, CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewire.errors import InputError
from rewire.evaluation.paired import (
    DRAWS,
    IMAGES,
    MARGIN,
    equivalence,
    hierarchical_bootstrap,
    holm,
    mcnemar,
)
from rewire.files import GAP, csv_text, write_json, write_text
from rewire.record import Record
from rewire.reporting.text_tables import markdown_table

NAME = "thesis_paired"
TITLE = "Rewiring strategies compared image by image"
MCNEMAR, BOOTSTRAP = "McNemar", "bootstrap"
COMPARED = (
    "difference", "ci95_low", "ci95_high", "ci90_low", "ci90_high", "interval", "only_strategy",
    "only_baseline", "test", "p",
)  # fmt: skip
"""Columns that a pair with a network at chance does not have."""
AT_CHANCE = "at chance"


class SeedTest(Record):
    """McNemar's test of two networks of one seed."""

    seed: int
    difference: float
    only_strategy: int
    only_baseline: int
    mcnemar_p: float


class Row(Record):
    """Two strategies compared; what the columns mean is said in `paired_rows`."""

    cell: str
    variant: str
    measure: str
    strategy: str
    baseline: str
    difference: float | None
    ci95_low: float | None
    ci95_high: float | None
    ci90_low: float | None
    ci90_high: float | None
    interval: str | None
    images: int
    seeds: int
    only_strategy: int | None
    only_baseline: int | None
    test: str | None
    p: float | None
    p_holm: float | None
    verdict: str
    per_seed: list[SeedTest]


COLUMNS = tuple(name for name in Row.model_fields if name != "per_seed")


@dataclass(frozen=True)
class Comparison:
    """What two strategies got right on the same images, seed by seed.

    Attributes:
        cell: of the matrix, such as "natural-s0.99".
        variant: "trained" or "pruned".
        measure: "clean" or "robust".
        strategy, baseline: names; the difference is strategy - baseline.
        seeds: of the rows of both arrays.
        correct: bool (seeds, images) of the strategy.
        baseline_correct: the same of the baseline.
        at_chance: which of the two networks, by name, know no more than the share of one class:
            they are not compared.
    """

    cell: str
    variant: str
    measure: str
    strategy: str
    baseline: str
    seeds: Sequence[int]
    correct: np.ndarray
    baseline_correct: np.ndarray
    at_chance: Sequence[str] = ()


def paired_rows(
    comparisons: Iterable[Comparison], *, draws: int = DRAWS, margin: float = MARGIN
) -> list[Row]:
    """One row per comparison, p-values corrected for their number (Holm).

    McNemar's test asks whether two networks differ; with one seed that is all there is to ask, and
    its p-value stands in the row. With several seeds the question is whether two strategies differ.
    McNemar's counts pooled over seeds cannot answer it: they take seeds × images for independent
    when the images are shared by the seeds and all errors of a network by its training. So the
    row has the p-value of the bootstrap over seeds and images, and McNemar's test of every seed is
    kept in `per_seed`, as a statement on those two networks.

    A comparison with a network at chance has no difference, test or verdict: a constant answer is
    not fooled by any attack.

    Returns:
        `COLUMNS`, and `per_seed`: seed, difference, discordant images, McNemar's p.

    Raises:
        InputError: for arrays that do not fit each other or the seeds.
    """
    rows = [_row(comparison, draws=draws, margin=margin) for comparison in comparisons]
    corrected = iter(holm([row.p for row in rows if row.p is not None]))
    return [
        row if row.p is None else row.model_copy(update={"p_holm": next(corrected)}) for row in rows
    ]


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


def _row(comparison: Comparison, *, draws: int, margin: float) -> Row:
    ours, baseline = np.asarray(comparison.correct), np.asarray(comparison.baseline_correct)
    # One seed for all rows: a row does not depend on which others there are.
    found = hierarchical_bootstrap(ours, baseline, seed=0, draws=draws)
    if len(comparison.seeds) != found.seeds:
        raise InputError(
            f"{comparison.cell}: seeds {list(comparison.seeds)} for {found.seeds} rows of images."
        )
    tests = [mcnemar(a, b) for a, b in zip(ours, baseline, strict=True)]
    single = found.varies == IMAGES
    row = Row(
        cell=comparison.cell,
        variant=comparison.variant,
        measure=comparison.measure,
        strategy=comparison.strategy,
        baseline=comparison.baseline,
        difference=found.difference,
        ci95_low=found.ci95[0],
        ci95_high=found.ci95[1],
        ci90_low=found.ci90[0],
        ci90_high=found.ci90[1],
        interval=found.varies,
        images=found.images,
        seeds=found.seeds,
        only_strategy=sum(test.only_a for test in tests),
        only_baseline=sum(test.only_b for test in tests),
        test=MCNEMAR if single else BOOTSTRAP,
        p=tests[0].p if single else found.p,
        p_holm=None,
        verdict=equivalence(found.ci90, ci95=found.ci95, margin=margin),
        per_seed=[
            SeedTest(
                seed=int(seed),
                difference=100 * (test.only_a - test.only_b) / found.images,
                only_strategy=test.only_a,
                only_baseline=test.only_b,
                mcnemar_p=test.p,
            )
            for seed, test in zip(comparison.seeds, tests, strict=True)
        ],
    )
    if not comparison.at_chance:
        return row
    verdict = f"{AT_CHANCE}: {', '.join(comparison.at_chance)}"
    none = dict.fromkeys(COMPARED)
    return row.model_copy(update={**none, "per_seed": [], "verdict": verdict})


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
    if tested < len(rows):
        lines.append(
            f"{AT_CHANCE.capitalize()}: without an attack the network is right no more often than "
            "an answer that is always the same. No attack fools such an answer, so that its robust "
            "accuracy means nothing: not compared."
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
