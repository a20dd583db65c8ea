"""Paired statistics between rewiring strategies from the ledgers of stage `evaluate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from rewire.errors import InputError
from rewire.evaluation.ledger import load_ledger
from rewire.evaluation.paired import align
from rewire.reporting.paired import COLUMNS, NAME, Comparison, paired_rows, write_paired_table
from rewire.stages.common import VARIANTS
from rewire.tracking import Tracker

MEASURES = {"clean": "clean_correct", "robust": "robust_correct"}  # measure → array of a ledger


def write_paired(
    base: Path,
    axes: Mapping[str, Sequence],
    folder: Path,
    *,
    profile: Mapping[str, str],
    tracker: Tracker,
) -> None:
    """Write thesis_paired.md, .csv and .json into `folder`: all pairs of strategies of a cell.

    Args:
        base: outputs of one profile; ledgers are base/evaluate/CELL/VARIANT.npz.
        axes: `cells`, `rewire` and `seeds` of params.yaml. Of two strategies, the earlier one in
            `rewire` is the baseline; cells that were not run are passed over.
        folder: of the tables.
        profile: `name` and `note`.
        tracker: gets the table.

    Raises:
        InputError: for ledgers that cannot be compared or read.
    """
    rows = paired_rows(comparisons(base, axes))
    write_paired_table(rows, folder, profile=profile["name"], note=profile["note"])
    tracker.table(NAME, list(COLUMNS), [[row[column] for column in COLUMNS] for row in rows])
    verdicts = Counter(row["verdict"] for row in rows)
    found = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"\n{NAME}: {len(rows)} comparisons{': ' + found if rows else ''}")


def comparisons(base: Path, axes: Mapping[str, Sequence]) -> Iterator[Comparison]:
    """Every pair of strategies of every cell and variant, at the seeds that both have."""
    for cell in axes["cells"]:
        for variant in VARIANTS:
            found = {
                rewire: ledgers(base, f"{cell}-{rewire}", axes["seeds"], variant)
                for rewire in axes["rewire"]
            }
            for baseline, strategy in combinations(axes["rewire"], 2):
                seeds = [seed for seed in found[strategy] if seed in found[baseline]]
                if not seeds:
                    continue
                aligned = align(
                    {
                        f"{cell}-{rewire}-seed{seed}, {variant}": found[rewire][seed]
                        for rewire in (strategy, baseline)
                        for seed in seeds
                    }
                )
                for measure, array in MEASURES.items():
                    correct = [ledger[array] for ledger in aligned.values()]
                    yield Comparison(
                        cell=cell,
                        variant=variant,
                        measure=measure,
                        strategy=strategy,
                        baseline=baseline,
                        seeds=seeds,
                        correct=np.stack(correct[: len(seeds)]),
                        baseline_correct=np.stack(correct[len(seeds) :]),
                    )


def ledgers(
    base: Path, name: str, seeds: Sequence[int], variant: str
) -> dict[int, dict[str, np.ndarray]]:
    """Seed → ledger, of the seeds that were evaluated."""
    found = {}
    for seed in seeds:
        path = base / "evaluate" / f"{name}-seed{seed}" / f"{variant}.npz"
        if not path.is_file():
            continue  # not run
        found[seed] = load_ledger(path)
        if missing := sorted(set(MEASURES.values()) - set(found[seed])):
            raise InputError(f"the ledger '{path}' lacks {', '.join(missing)}")
    return found
