"""The article, stage 4: noise made anew on pruned networks, beside the noise they never saw.

Fixed noise may lose its effect because a pruned network is robust, or because it is another network
than the one that the noise was made on. Noise of its own tells the two apart.
"""

from __future__ import annotations

import dataclasses

from omegaconf import DictConfig
from safetensors.torch import save_file
from torch import Tensor

from rewire.article.configuration import Configuration
from rewire.article.counts import percents
from rewire.article.curve_settings import points_of
from rewire.article.noise_vectors import make_vectors, noise_batches, noise_recipe
from rewire.article.pruned_accuracy import Judged, Rankings, judge, load_inputs
from rewire.article.results import Adapted, AdaptedPoint, Counts
from rewire.attacks.universal import CLEAN
from rewire.errors import unknown_name
from rewire.files import atomic_path, write_json
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import METRICS
from rewire.pipeline.partial_results import Part, parts, piece
from rewire.pipeline.run_cell import run_cell
from rewire.pruning.values import apply_masks, combined_masks
from rewire.reporting.text_tables import summary_table
from rewire.tracking import Tracker

VARIANT, EVALUATION = "G1", "E1"
VECTORS = "vectors.safetensors"  # point → (V, 784), in the order of the columns


def run(config: DictConfig, overrides: list[str]) -> None:
    """Attack the cell that `config` names; reads what `article_train` and `article_noise` left."""
    run_cell(Cell.of("article_adaptive", config, overrides), attack)


def attack(cell: Cell[Configuration]) -> list[str]:
    config, folder, tracker = cell.config, cell.folder, cell.tracker
    trained, noised = cell.earlier("article_train"), cell.earlier("article_noise")
    options, points = config.curves, points_of(config.curves)
    for name in options.adaptive:
        if name not in points:
            raise unknown_name("point in curves.adaptive", name, points)
    inputs = load_inputs(config, trained=trained, noisy=noised)
    recipe = noise_recipe(config.noise, inputs.device)
    batches = noise_batches(inputs.training, batch_size=config.noise.batch_size, seed=config.seed)
    rankings = Rankings(inputs.model, inputs.training, seed=config.seed)
    sample = options.common.model_dump(include={"count", "fresh"})
    decided = cell.pieces(device=inputs.device.type, recipe=dataclasses.asdict(recipe))

    vectors: dict[str, Tensor] = {}

    def compare(part: Part, name: str) -> AdaptedPoint:
        """One point: the fixed noise and its own, on the same pruned network."""
        ranked = rankings.of(points[name], draw=0, **sample)
        with apply_masks(inputs.model, combined_masks(ranked, points[name])):
            made = make_vectors(
                part,
                name,
                inputs.model,
                batches,
                pairs=inputs.pairs,
                variant=VARIANT,
                recipe=recipe,
            )
        vectors[name] = made

        def judged(noise: Tensor) -> Judged:
            attacked = dataclasses.replace(inputs, noise=noise.to(inputs.device))
            return judge(attacked, ranked, [points[name]], evaluations=[EVALUATION])

        static = piece(part, f"{name}-static", lambda: judged(inputs.noise), Judged)
        adaptive = piece(part, f"{name}-adaptive", lambda: judged(made), Judged)
        return AdaptedPoint(
            point=name,
            ratios=points[name],
            sparsity=static.sparsity[0],
            static=counts(static),
            adaptive=counts(adaptive),
        )

    with parts(folder, decided=decided) as part:
        metrics = Adapted(
            columns=inputs.columns,
            steps=recipe.steps,
            evaluation=EVALUATION,
            points=[compare(part, name) for name in options.adaptive],
        )
        with atomic_path(folder / VECTORS) as temporary:
            save_file(vectors, temporary)
        write_json(folder / METRICS, metrics.as_json())
    report(metrics, tracker)
    tracker.artifact(
        f"adaptive-{folder.name}",
        type="noise",
        files=[folder / VECTORS],
        metadata={"columns": inputs.columns, "steps": recipe.steps},
        inputs=[f"weights-{trained.name}", f"noise-{noised.name}"],
    )
    return [VECTORS, METRICS]


def counts(result: Judged) -> Counts:
    """Those of the only pruning that was judged."""
    (correct,) = result.correct[EVALUATION]
    return Counts(correct=correct, images=[result.images] * len(correct))


def report(metrics: Adapted, tracker: Tracker) -> None:
    """Print and track the mean accuracy under both kinds of noise."""
    rows = []
    for point in metrics.points:
        row: dict[str, str | float] = {"point": point.point, "sparsity": point.sparsity}
        for kind, found in (("static", point.static), ("adaptive", point.adaptive)):
            clean, *noised = percents(found)
            row |= {CLEAN: clean, f"mean of {kind} noise": sum(noised) / len(noised)}
        rows.append(row)
    print(summary_table(rows), end="")
    tracker.table("adaptive", list(rows[0]), [list(row.values()) for row in rows])
    tracker.summary(
        {str(row["point"]): {k: v for k, v in row.items() if k != "point"} for row in rows}
    )
