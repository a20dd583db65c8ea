"""Paired statistics between rewiring strategies from the ledgers of stage `evaluate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from rewire.errors import InputError
from rewire.evaluation.accuracy import is_at_chance
from rewire.evaluation.ledger import load_ledger
from rewire.evaluation.paired import align
from rewire.pipeline.cell import VARIANTS
from rewire.pipeline.common import Profile
from rewire.pipeline.document import clean_ledger
from rewire.pipeline.made import command_for
from rewire.thesis.report.paired_rows import COLUMNS, Comparison, paired_rows
from rewire.thesis.report.paired_table import NAME, write_paired_table
from rewire.thesis.shown import is_of
from rewire.tracking import Tracker


@dataclass(frozen=True)
class Measure:
    """Where the verdicts of one measure stand.

    Attributes:
        array: of the ledger.
        file: variant → name of the ledger. Clean accuracy is that of all test images, of which
            an attack may see a few only.
    """

    array: str
    file: Callable[[str], str]


MEASURES = {
    "clean": Measure("clean_correct", clean_ledger),
    "robust": Measure("robust_correct", "{}.npz".format),
}


def write_paired(
    base: Path,
    axes: Mapping[str, Sequence],
    folder: Path,
    *,
    profile: Profile,
    tracker: Tracker,
) -> None:
    """Write thesis_paired.md, .csv and .json into `folder`: all pairs of strategies of a cell.

    Args:
        base: outputs of one profile; ledgers are those that
            stage `evaluate` leaves in base/evaluate/CELL.
        axes: `cells`, `rewire` and `seeds` of params.yaml. Of two strategies, the earlier one in
            `rewire` is the baseline; cells that were not run are passed over.
        folder: of the tables.
        profile: whose name and note the table has.
        tracker: gets the table.

    Raises:
        InputError: for ledgers that cannot be compared or read.
    """
    rows = paired_rows(comparisons(base, axes))
    left_out = outdated(base, axes)
    write_paired_table(rows, folder, profile=profile.name, note=profile.note, outdated=left_out)
    tracker.table(NAME, list(COLUMNS), [[getattr(row, c) for c in COLUMNS] for row in rows])
    verdicts = Counter(row.verdict.partition(":")[0] for row in rows)
    found = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"\n{NAME}: {len(rows)} comparisons{': ' + found if rows else ''}")
    for again in left_out:
        print(f"outdated and left out: run {again}")


def comparisons(base: Path, axes: Mapping[str, Sequence]) -> Iterator[Comparison]:
    """Every pair of strategies of every cell, variant and measure, at the seeds that both have."""
    for cell in axes["cells"]:
        for variant in VARIANTS:
            found = {
                (rewire, measure): ledgers(base, f"{cell}-{rewire}", axes["seeds"], variant, where)
                for rewire in axes["rewire"]
                for measure, where in MEASURES.items()
            }
            for baseline, strategy in combinations(axes["rewire"], 2):
                for measure, where in MEASURES.items():
                    ours, theirs = found[strategy, measure], found[baseline, measure]
                    seeds = [seed for seed in ours if seed in theirs]
                    if not seeds:
                        continue
                    aligned = align(
                        {
                            f"{cell}-{rewire}-seed{seed}, {variant}": several[seed]
                            for rewire, several in ((strategy, ours), (baseline, theirs))
                            for seed in seeds
                        }
                    )
                    correct = [ledger[where.array] for ledger in aligned.values()]
                    yield Comparison(
                        cell=cell,
                        variant=variant,
                        measure=measure,
                        strategy=strategy,
                        baseline=baseline,
                        seeds=seeds,
                        correct=np.stack(correct[: len(seeds)]),
                        baseline_correct=np.stack(correct[len(seeds) :]),
                        at_chance=[
                            f"{rewire} seed {seed}"
                            for rewire in (strategy, baseline)
                            for seed in seeds
                            if knows_nothing(
                                found[rewire, "clean"].get(seed, found[rewire, measure][seed])
                            )
                        ],
                    )


def knows_nothing(ledger: Mapping[str, np.ndarray]) -> bool:
    """Whether a network's clean verdicts are no better than an answer that is always the same."""
    return is_at_chance(ledger["clean_correct"], ledger["labels"])


def outdated(base: Path, axes: Mapping[str, Sequence]) -> list[str]:
    """Commands for the ledgers that are of other networks than those that are there."""
    folders = [
        base / "evaluate" / f"{cell}-{rewire}-seed{seed}"
        for cell in axes["cells"]
        for rewire in axes["rewire"]
        for seed in axes["seeds"]
    ]
    return [
        command_for(folder)
        for folder in folders
        if any(
            (folder / f"{variant}.npz").is_file()
            and not is_of(base, "evaluate", folder.name, variant)
            for variant in VARIANTS
        )
    ]


def ledgers(
    base: Path, name: str, seeds: Sequence[int], variant: str, where: Measure
) -> dict[int, dict[str, np.ndarray]]:
    """Seed → ledger, of the seeds that were evaluated."""
    found = {}
    for seed in seeds:
        folder = base / "evaluate" / f"{name}-seed{seed}"
        path = folder / where.file(variant)
        if not path.is_file():
            if (folder / f"{variant}.npz").is_file():  # of a version that did not write this one
                print(f"not compared: {path} is missing; run evaluate of this cell with force=true")
            continue
        if not is_of(base, "evaluate", folder.name, variant):
            continue  # see `outdated`
        found[seed] = load_ledger(path)
        if where.array not in found[seed]:
            raise InputError(f"the ledger '{path}' lacks {where.array}")
    return found
