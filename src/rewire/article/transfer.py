"""The article: one network under the noise that was made on the networks of every head."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from omegaconf import DictConfig
from tabulate import tabulate

from rewire.article.configuration import Configuration
from rewire.article.counts import percents
from rewire.article.noise_vectors import judged, load_inputs
from rewire.article.results import Counts, Transferred
from rewire.attacks.universal import EVALUATIONS, VARIANTS, column_labels
from rewire.attacks.universal_files import load_noise
from rewire.errors import InputError
from rewire.files import MANIFEST, write_json
from rewire.pipeline.cell import Cell
from rewire.pipeline.commands import command_of
from rewire.pipeline.document import METRICS, NOISES, WEIGHTS
from rewire.pipeline.partial_results import parts, piece
from rewire.pipeline.run_cell import run_cell
from rewire.tracking import Tracker

SOURCES = ("sce", "lq", "rq")


def run(config: DictConfig, overrides: list[str]) -> None:
    """Judge the cell that `config` names on the noise of the same seed and network, any head.

    Raises:
        InputError: if the noise of a head is missing; names the commands that make it.
    """
    cell: Cell[Configuration] = Cell.of("article_transfer", config, overrides)
    noises = {head: noise_of(cell, head) for head in SOURCES}
    read = {"article_train": cell.earlier("article_train") / WEIGHTS}
    read |= {f"article_noise of {head}": path / MANIFEST for head, path in noises.items()}
    run_cell(cell, functools.partial(measure, noises=noises), more_inputs=read)


def noise_of(cell: Cell[Configuration], head: str) -> Path:
    """Folder of the finished noise of this cell's sibling of another head.

    Raises:
        InputError: if it is not there; names the head and the commands that make it.
    """
    arguments = [*(o for o in cell.overrides if not o.startswith("head=")), f"head={head}"]
    other = cell.at("article_curves", head=head)
    folders = {stage: other.earlier(stage) for stage in ("article_train", "article_noise")}
    missing = [stage for stage, folder in folders.items() if not (folder / MANIFEST).is_file()]
    if "article_noise" in missing:
        commands = " && ".join(command_of(stage, arguments) for stage in missing)
        raise InputError(
            f"no noise of head '{head}' in '{folders['article_noise']}'. "
            f"Allowed: noise of all heads ({', '.join(SOURCES)}); make it first: {commands}"
        )
    # Its noise and all that this was made from, as the next stage would find it.
    dataclasses.replace(other, overrides=tuple(arguments)).check_sources()
    return folders["article_noise"]


def measure(cell: Cell[Configuration], noises: Mapping[str, Path]) -> list[str]:
    pairs = cell.config.noise.pairs
    vectors = {
        (head, variant): load_noise(path / NOISES[variant], expected=pairs)[0]
        for head, path in noises.items()
        for variant in VARIANTS
    }
    inputs = load_inputs(cell.config, cell.earlier("article_train"))
    with parts(cell.folder, decided=cell.pieces(device=inputs.device.type)) as part:

        def judge(head: str, variant: str, evaluation: str) -> Counts:
            noise = vectors[head, variant]
            compute = functools.partial(
                judged, inputs.model, inputs.test, noise, pairs, evaluation=evaluation
            )
            return piece(part, f"{head}-{variant}-{evaluation}", compute, dict[str, Counts])["all"]

        metrics = Transferred(
            columns=column_labels(pairs),
            sources={
                head: {
                    variant: {name: judge(head, variant, name) for name in EVALUATIONS}
                    for variant in VARIANTS
                }
                for head in SOURCES
            },
        )
        write_json(cell.folder / METRICS, metrics.as_json())
    tell(cell.config.head.name, metrics, cell.tracker)
    return [METRICS]


def tell(own: str, metrics: Transferred, tracker: Tracker) -> None:
    """Print and track the accuracies in percent, one column per source of the noise."""
    shares = {
        f"{head}-{variant}-{evaluation}": percents(counts)
        for head, variants in metrics.sources.items()
        for variant, evaluations in variants.items()
        for evaluation, counts in evaluations.items()
    }
    rows = [list(row) for row in zip(metrics.columns, *shares.values(), strict=True)]
    print(f"accuracy % of head {own} under noise made on heads (G1, G2; E1 unclipped, E2 clipped)")
    print(tabulate(rows, ["", *shares], floatfmt=".2f"))
    tracker.summary({f"mean accuracy/{name}": fmean(values[1:]) for name, values in shares.items()})
    tracker.table("transfer", ["column", *(f"{name} %" for name in shares)], rows)
