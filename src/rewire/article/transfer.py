"""Second document: one network under the noise that was made on the networks of every head."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate

from rewire.article.noise_vectors import judged, load_inputs
from rewire.attacks.universal import EVALUATIONS, column_labels
from rewire.attacks.universal_files import load_noise
from rewire.errors import InputError
from rewire.files import MANIFEST, write_json
from rewire.pipeline.commands import command_of
from rewire.pipeline.document import METRICS, NOISE, WEIGHTS
from rewire.pipeline.partial_results import parts
from rewire.pipeline.run_cell import check_sources, deciding_pieces, run_cell, sibling
from rewire.tracking import Tracker

SOURCES = ("sce", "lq", "rq")


def run(config: DictConfig, overrides: list[str]) -> None:
    """Judge the cell that `config` names on the noise of the same seed and network, any head.

    Raises:
        InputError: if the noise of a head is missing; names the commands that make it.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    trained = sibling(plain, overrides, "article_train")
    noises = {head: noise_of(plain, overrides, head) for head in SOURCES}

    def work(config: dict[str, Any], folder: Path, tracker: Tracker) -> list[str]:
        return measure(config, trained, noises, folder, tracker)

    read = {"article_train": trained / WEIGHTS}
    read |= {f"article_noise of {head}": path / MANIFEST for head, path in noises.items()}
    run_cell("article_transfer", config, overrides, work, more_inputs=read)


def noise_of(config: Mapping[str, Any], overrides: Sequence[str], head: str) -> Path:
    """Folder of the finished noise of this cell's sibling of another head.

    Raises:
        InputError: if it is not there; names the head and the commands that make it.
    """
    other = {**config, "head": {**config["head"], "name": head}}
    folders = {s: sibling(other, overrides, s) for s in ("article_train", "article_noise")}
    missing = [stage for stage, folder in folders.items() if not (folder / MANIFEST).is_file()]
    if "article_noise" in missing:
        kept = [override for override in overrides if not override.startswith("head=")]
        arguments = [*kept, f"head={head}"]
        commands = " && ".join(command_of(stage, arguments) for stage in missing)
        raise InputError(
            f"no noise of head '{head}' in '{folders['article_noise']}'. "
            f"Allowed: noise of all heads ({', '.join(SOURCES)}); make it first: {commands}"
        )
    # Its noise and all that this was made from, as the next stage would find it.
    check_sources("article_curves", other, [*overrides, f"head={head}"])
    return folders["article_noise"]


def measure(
    config: dict[str, Any],
    trained: Path,
    noises: Mapping[str, Path],
    folder: Path,
    tracker: Tracker,
) -> list[str]:
    pairs = config["noise"]["pairs"]
    vectors = {head: load_noise(path / NOISE, expected=pairs)[0] for head, path in noises.items()}
    inputs = load_inputs(config, trained)
    decided = deciding_pieces(config, "article_transfer")
    with parts(folder, decided=decided | {"device": inputs.device.type}) as part:

        def judge(head: str, evaluation: str) -> Any:
            compute = functools.partial(
                judged, inputs.model, inputs.test, vectors[head], pairs, evaluation=evaluation
            )
            return part(f"{head}-{evaluation}", compute)["all"]

        metrics = {
            "columns": column_labels(pairs),
            "sources": {
                head: {evaluation: judge(head, evaluation) for evaluation in EVALUATIONS}
                for head in SOURCES
            },
        }
        write_json(folder / METRICS, metrics)
    tell(config["head"]["name"], metrics, tracker)
    return [METRICS]


def tell(own: str, metrics: Mapping[str, Any], tracker: Tracker) -> None:
    """Print and track the accuracies in percent, one column per source of the noise."""
    shares = {
        f"{head}-{evaluation}": 100 * np.divide(counts["correct"], counts["images"])
        for head, evaluations in metrics["sources"].items()
        for evaluation, counts in evaluations.items()
    }
    rows = [
        [column, *(float(values[number]) for values in shares.values())]
        for number, column in enumerate(metrics["columns"])
    ]
    print(f"accuracy % of head {own} under noise made on (E1 unclipped, E2 clipped to [0, 1])")
    print(tabulate(rows, ["", *shares], floatfmt=".2f"))
    tracker.summary(
        {f"mean accuracy/{name}": float(values[1:].mean()) for name, values in shares.items()}
    )
    tracker.table("transfer", ["column", *(f"{name} %" for name in shares)], rows)
