"""The article, stage 3: accuracy under fixed noise while the network is pruned."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

from omegaconf import DictConfig
from torch import Tensor

from rewire.article.configuration import Configuration, Curve, Curves
from rewire.article.counts import percents
from rewire.article.curve_settings import (
    curves_of,
    draws_of,
    grid,
    points_of,
    pruning,
    ranked_by,
)
from rewire.article.pruned_accuracy import Inputs, Judged, Rankings, judge, load_inputs
from rewire.article.results import (
    CURVES,
    Counts,
    CurveRow,
    DeadPixels,
    Pruned,
    PrunedPoint,
    Total,
)
from rewire.attacks.universal import CLEAN
from rewire.data.images import as_float
from rewire.evaluation.curve import pruning_curve
from rewire.files import write_json, write_text
from rewire.models.dense import PIXELS
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import METRICS
from rewire.pipeline.partial_results import parts, piece
from rewire.pipeline.run_cell import as_csv, run_cell
from rewire.progress import bar, tell
from rewire.pruning.inputs import metric_images
from rewire.pruning.values import Pruning, apply_masks, weight_matrices
from rewire.reporting.text_tables import summary_table
from rewire.tracking import Tracker

VALIDATION = "validation"  # the column with the held-out images, without noise


def run(config: DictConfig, overrides: list[str]) -> None:
    """Prune the cell that `config` names; reads what `article_train` and `article_noise` left."""
    run_cell(Cell.of("article_curves", config, overrides), measure)


def measure(cell: Cell[Configuration]) -> list[str]:
    options, folder, tracker = cell.config.curves, cell.folder, cell.tracker
    trained, noised = cell.earlier("article_train"), cell.earlier("article_noise")
    curves, points = curves_of(options), points_of(options)
    inputs = load_inputs(cell.config, trained=trained, noisy=noised)
    rankings = Rankings(inputs.model, inputs.training, seed=cell.config.seed)
    count, fresh = options.common.count, options.common.fresh
    decided = cell.pieces(device=inputs.device.type)
    rows: list[CurveRow] = []
    found: list[PrunedPoint] = []
    with parts(folder, decided=decided) as part:
        grids = {name: grid(options, curve.grid) for name, curve in curves.items()}
        total = sum(curve.draws * len(grids[name]) for name, curve in curves.items())
        with bar("curves", total=total, unit="ratio") as shown:
            for name, curve in curves.items():
                ratios = grids[name]
                for draw in range(curve.draws):
                    judging = functools.partial(one_draw, inputs, rankings, curve, draw, ratios)
                    result = piece(part, f"{name}-{draw}", judging, Judged)
                    rows += curve_rows(name, draw, ratios, inputs.columns, result)
                    shown.update(len(ratios))
                tell(shown, f"{name}: {curve.draws} x {len(ratios)} ratios")
        for draw in range(max(point_draws(point, options) for point in points.values())):
            chosen = {n: p for n, p in points.items() if draw < point_draws(p, options)}
            at_points = functools.partial(points_at, inputs, rankings, options, chosen, draw)
            found += piece(part, f"points-{draw}", at_points, list[PrunedPoint])
        means = rankings.means(draw=0, count=count, fresh=fresh)
        of_dead = functools.partial(dead_pixels, inputs, rankings, count=count)
        metrics = Pruned(
            columns=inputs.columns,
            images=len(inputs.test),
            points=sorted(found, key=lambda point: list(points).index(point.point)),
            dead_pixels=piece(part, "dead-pixels", of_dead, DeadPixels),
            dead_inputs={name: int((mean == 0).sum()) for name, mean in means.items()},
        )
        write_text(folder / CURVES, as_csv([row.as_json() for row in rows]))
        write_json(folder / METRICS, metrics.as_json())
    report(rows, metrics, tracker)
    tracker.artifact(
        f"curves-{folder.name}",
        type="evaluation",
        files=[folder / CURVES, folder / METRICS],
        metadata={},
        inputs=[f"weights-{trained.name}", f"noise-{noised.name}"],
    )
    return [CURVES, METRICS]


def one_draw(
    inputs: Inputs, rankings: Rankings, curve: Curve, draw: int, ratios: Sequence[float]
) -> Judged:
    """What `judge` counts along the ratios of one draw of a curve."""
    ranked = rankings.of(
        ranked_by(curve),
        draw=draw,
        count=curve.count,
        fresh=curve.fresh,
        matrices=curve.matrices,
        include_output=curve.include_output,
    )
    prunings = [pruning(curve, ratio) for ratio in ratios]
    evaluations, images = curve.evaluations, curve.images
    return judge(inputs, ranked, prunings, evaluations=evaluations, images=images)


def curve_rows(
    name: str, draw: int, ratios: Sequence[float], columns: Sequence[str], result: Judged
) -> Iterator[CurveRow]:
    """The rows of `curves.csv` of one draw of a curve, one number each."""
    for place, (ratio, sparsity) in enumerate(zip(ratios, result.sparsity, strict=True)):
        row = functools.partial(CurveRow, curve=name, draw=draw, ratio=ratio, sparsity=sparsity)
        for evaluation, counts in result.correct.items():
            for column, correct in zip(columns, counts[place], strict=True):
                number = {"correct": correct, "images": result.images}
                yield row(evaluation=evaluation, column=column, **number)
        if (held_out := result.validation) is not None:
            number = {"correct": held_out.correct[place], "images": held_out.images}
            yield row(evaluation="E1", column=VALIDATION, **number)


def point_draws(point: Pruning, options: Curves) -> int:
    return draws_of(point, options.points.draws, options)


def points_at(
    inputs: Inputs,
    rankings: Rankings,
    options: Curves,
    points: Mapping[str, Pruning],
    draw: int,
) -> list[PrunedPoint]:
    """One entry per point and evaluation of one draw."""
    metrics = dict.fromkeys(metric for point in points.values() for metric in point)
    count, fresh = options.common.count, options.common.fresh
    ranked = rankings.of(metrics, draw=draw, count=count, fresh=fresh)
    prunings, evaluations = list(points.values()), options.points.evaluations
    result = judge(inputs, ranked, prunings, evaluations=evaluations)
    held_out = result.validation
    return [
        PrunedPoint(
            point=name,
            draw=draw,
            ratios=point,
            sparsity=result.sparsity[place],
            evaluation=evaluation,
            correct=counts[place],
            images=[result.images] * len(inputs.columns),
            validation=held_out and Total(correct=held_out.correct[place], images=held_out.images),
        )
        for place, (name, point) in enumerate(points.items())
        for evaluation, counts in result.correct.items()
    ]


def dead_pixels(inputs: Inputs, rankings: Rankings, *, count: int | None) -> DeadPixels:
    """Do weights of pixels that are black in the whole sample explain the article's steps?

    Compares (E1) the whole network with one that lost exactly these weights, and with noise that
    is zero on these pixels. A network that begins with convolutions has no such weights.

    Args:
        inputs: network, test images and noise.
        rankings: whose draw 0 is the sample.
        count: of the sample.
    """
    seed = rankings.draw_seed(0)
    sample = metric_images(as_float(inputs.training.images), count=count, seed=seed)
    dead = sample.flatten(1).sum(dim=0) == 0
    name, weight = next(iter(weight_matrices(inputs.model).items()))
    x, y = as_float(inputs.test.images), inputs.test.labels

    def counts(noise: Tensor, masks: Mapping[str, Tensor]) -> Counts:
        (correct,) = pruning_curve(
            inputs.model, lambda masks: apply_masks(inputs.model, masks), [masks], x, y, noise
        ).tolist()
        return Counts(correct=correct, images=[len(x)] * len(correct))

    found = {"unpruned": counts(inputs.noise, {})}
    if not inputs.model.convolutions():
        mask = (~dead).expand(weight.shape)
        found["weights_pruned"] = counts(inputs.noise, {name: mask})
    found["noise_zeroed"] = counts(inputs.noise.masked_fill(dead, 0), {})
    pixels = int(dead.sum())
    return DeadPixels(
        sample=len(sample),
        pixels=pixels,
        share=pixels / PIXELS,
        evaluation="E1",
        accuracy=found,
    )


def report(rows: Sequence[CurveRow], metrics: Pruned, tracker: Tracker) -> None:
    """Print the points, track points and curves."""
    shown = []
    for point in metrics.points:
        row = point.model_dump(include={"point", "draw", "evaluation", "sparsity"})
        clean, *noised = percents(point)
        row |= {CLEAN: clean, "mean of noise": sum(noised) / len(noised)}
        if held_out := point.validation:
            row[VALIDATION] = 100 * held_out.correct / held_out.images
        shown.append(row)
    print(summary_table(shown), end="")
    dead = metrics.dead_pixels
    print(f"{dead.pixels} of {PIXELS} pixels are black in {dead.sample} training images")
    tracker.table("points", list(shown[0]), [list(row.values()) for row in shown])
    for row in shown:
        if not row["draw"]:
            name = f"{row['point']}-{row['evaluation']}"
            tracker.summary({name: {key: row[key] for key in (CLEAN, "mean of noise")}})
    for step, points in enumerate(curve_points(rows)):
        tracker.log(points, step=step)


def curve_points(rows: Sequence[CurveRow]) -> list[dict[str, float]]:
    """Draw 0 of every curve: per place in its grid the ratio and the shares of both kinds."""
    places: dict[str, dict[float, dict[str, list[float]]]] = {}
    for row in rows:
        if row.draw == 0 and row.evaluation == "E1":
            at = places.setdefault(row.curve, {}).setdefault(row.ratio, {})
            column = row.column if row.column in (CLEAN, VALIDATION) else "noise"
            at.setdefault(column, []).append(row.correct / row.images)
    longest = max(map(len, places.values()), default=0)
    points: list[dict[str, float]] = [{} for _ in range(longest)]
    for name, ratios in places.items():
        for place, (ratio, columns) in enumerate(ratios.items()):
            points[place][f"curves/{name}/ratio"] = ratio
            for column, shares in columns.items():
                points[place][f"curves/{name}/{column}"] = sum(shares) / len(shares)
    return points
