"""The article, stage 2: universal noise on one trained network, and what it does to it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean

import numpy as np
from omegaconf import DictConfig
from tabulate import tabulate
from torch import Tensor

from rewire.article.configuration import Configuration, Run, Trainability
from rewire.article.counts import percents
from rewire.article.noise_vectors import (
    check_distinct,
    judged,
    load_inputs,
    make_vectors,
    noise_batches,
    noise_recipe,
)
from rewire.article.report.noise_figure import noise_plot
from rewire.article.results import Counts, Noised, Trial
from rewire.attacks.universal import (
    EVALUATIONS,
    VARIANTS,
    Pair,
    Recipe,
    column_labels,
    pair_label,
)
from rewire.attacks.universal_files import save_noise
from rewire.files import write_json
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import METRICS, NOISES
from rewire.pipeline.partial_results import parts, piece
from rewire.pipeline.run_cell import run_cell
from rewire.tracking import Tracker
from rewire.training.device import choose_device

PICTURE = "noise.png"


def run(config: DictConfig, overrides: list[str]) -> None:
    """Make and judge noise on the cell that `config` names; reads what `article_train` left."""
    run_cell(Cell.of("article_noise", config, overrides), attack)


def attack(cell: Cell[Configuration]) -> list[str]:
    config, noise, folder = cell.config, cell.config.noise, cell.folder
    recipe = noise_recipe(noise, choose_device(config.trainer.device))
    check_distinct(noise.pairs)
    trials = trials_of(noise.trainability, recipe)
    source = cell.earlier("article_train")
    inputs = load_inputs(config, source)
    draw = noise_batches(inputs.training, batch_size=noise.batch_size, seed=config.seed)
    decided = cell.pieces(device=inputs.device.type, recipe=asdict(recipe))

    with parts(folder, decided=decided) as part:

        def make(name: str, pairs: Sequence[Pair], variant: str, recipe: Recipe) -> Tensor:
            return make_vectors(
                part, name, inputs.model, draw, pairs=pairs, variant=variant, recipe=recipe
            )

        def judge(
            name: str, vectors: Tensor, pairs: Sequence[Pair], evaluation: str
        ) -> dict[str, Counts]:
            compute = functools.partial(
                judged, inputs.model, inputs.test, vectors, pairs, evaluation=evaluation
            )
            return piece(part, f"accuracy-{name}-{evaluation}", compute, dict[str, Counts])

        made = {variant: make(variant, noise.pairs, variant, recipe) for variant in VARIANTS}
        metrics = Noised(
            pairs=noise.pairs,
            columns=column_labels(noise.pairs),
            steps=recipe.steps,
            precision=recipe.precision,
            accuracy={
                variant: {e: judge(variant, vectors, noise.pairs, e) for e in EVALUATIONS}
                for variant, vectors in made.items()
            },
            trainability=trainability(trials, noise.trainability.pairs, make, judge),
        )
        files = [NOISES[variant] for variant in made]
        for name, (variant, vectors) in zip(files, made.items(), strict=True):
            save_noise(folder / name, vectors, pairs=noise.pairs, variant=variant)
        pixels = draw_noise(made, noise.pairs, folder / PICTURE)
        write_json(folder / METRICS, metrics.as_json())
    tracker = cell.tracker
    tell(metrics, tracker)
    tracker.image("noise", pixels)
    tracker.artifact(
        f"noise-{folder.name}",
        type="noise",
        files=[folder / name for name in files],
        metadata=metrics.model_dump(include={"columns", "steps", "precision"}),
        inputs=[f"weights-{source.name}"],
    )
    return [*files, METRICS, PICTURE]


def trials_of(settings: Trainability, recipe: Recipe) -> list[tuple[Run, Recipe]]:
    """The runs of the trainability study, and their recipes.

    Raises:
        InputError: for a value that is not allowed; nothing has been computed then.
    """
    return [
        (run, replace(recipe, **run.model_dump(), steps=settings.steps)) for run in settings.runs
    ]


def trainability(
    trials: Sequence[tuple[Run, Recipe]],
    pairs: Sequence[Pair],
    make: Callable[..., Tensor],
    judge: Callable[..., dict[str, Counts]],
) -> list[Trial]:
    """Accuracy (E1, all test images) under G1 noise of every loss and optimiser tried."""
    results = []
    for run, recipe in trials:
        chosen = run.model_dump()
        name = "trial-" + "-".join(map(str, chosen.values()))
        found = judge(name, make(name, pairs, "G1", recipe), pairs, "E1")["all"]
        results += [
            Trial(**chosen, column=pair_label(pair), correct=correct, images=images)
            for pair, correct, images in zip(
                pairs, found.correct[1:], found.images[1:], strict=True
            )
        ]
    return results


def draw_noise(made: Mapping[str, Tensor], pairs: Sequence[Pair], path: Path) -> np.ndarray:
    """All vectors as a PNG, one variant below the other."""
    panels = [
        (f"{pair_label(pair)}  {variant}", vector.numpy(), pair[1])
        for variant, vectors in made.items()
        for pair, vector in zip(pairs, vectors, strict=True)
    ]
    title = "universal noise, class/limit: blue -limit, red +limit"
    return noise_plot(panels, path=path, suptitle=title)


def tell(metrics: Noised, tracker: Tracker) -> None:
    """Print the article's and the valid accuracies, and track all of them."""
    shares = {
        f"{variant}-{evaluation}": percents(found["all"])
        for variant, evaluations in metrics.accuracy.items()
        for evaluation, found in evaluations.items()
    }
    rows = [list(row) for row in zip(metrics.columns, *shares.values(), strict=True)]
    print("accuracy % (E1 unclipped, E2 clipped to [0, 1])")
    print(tabulate(rows, ["", *shares], floatfmt=".2f"))
    tracker.summary(
        {"clean accuracy": rows[0][1]}
        | {f"mean accuracy/{name}": fmean(values[1:]) for name, values in shares.items()}
    )
    tracker.table("accuracy", ["column", *(f"{name} %" for name in shares)], rows)
    if trials := [trial.as_json() for trial in metrics.trainability]:
        tracker.table("trainability", list(trials[0]), [list(trial.values()) for trial in trials])
