"""Pairs of rewiring strategies on the same images: one row each, tested and judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
from rewire.record import Record

MCNEMAR, BOOTSTRAP = "McNemar", "bootstrap"
COMPARED = (
    "difference", "ci95_low", "ci95_high", "ci90_low", "ci90_high", "interval", "only_strategy",
    "only_baseline", "test", "p",
)  # fmt: skip
"""Columns that a pair that is not compared does not have."""
AT_CHANCE = "at chance"
NEITHER = "neither above"


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
    not fooled by any attack. Nor has one in which no network is right on more images than the
    margin: its difference is inside of it whatever the strategies do, as with natural networks
    under an attack, and counted among the tests it would only weaken the others.

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
    if comparison.at_chance:
        verdict = f"{AT_CHANCE}: {', '.join(comparison.at_chance)}"
    elif 100 * max(ours.mean(axis=1).max(), baseline.mean(axis=1).max()) < margin:
        verdict = f"{NEITHER} {margin:g} %"
    else:
        return row
    none = dict.fromkeys(COMPARED)
    return row.model_copy(update={**none, "per_seed": [], "verdict": verdict})
