"""The article: the CNN with decoupled convolutions, pruned copy by copy, and what that costs.

Times differ between equal runs: cost.json and cost.png are no part of the stage's result.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from scipy import sparse
from torch import Tensor

from rewire.article.configuration import Configuration
from rewire.article.configuration import Decoupled as Options
from rewire.article.counts import percents
from rewire.article.noise_vectors import first_images
from rewire.article.report.decoupled_figure import cost_plot, robustness_plot
from rewire.article.results import Decoupled, DecoupledPoint, SparseLayer
from rewire.attacks.judge import is_correct, predict_logits
from rewire.attacks.universal import CLEAN, apply_noise, pair_label
from rewire.attacks.universal_files import load_noise
from rewire.data.checks import check_count as check_range
from rewire.data.images import ImageSet, as_float
from rewire.data.load import load_images
from rewire.errors import InputError, unknown_name
from rewire.files import write_json
from rewire.models.artifact import load_dense
from rewire.models.dense import DENSE_MODELS, Architecture, DenseNetwork
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import METRICS, NOISE, WEIGHTS
from rewire.pipeline.partial_results import parts, piece
from rewire.pipeline.run_cell import run_cell
from rewire.progress import bar
from rewire.pruning.decoupled import (
    SCORES,
    DecoupledLayer,
    DecoupledNetwork,
    dense_as_csr,
    logits_of,
    prune_entries,
)
from rewire.pruning.decoupled_cost import Cost, layer_cost
from rewire.reporting.text_tables import summary_table
from rewire.rng import generator
from rewire.tracking import Tracker
from rewire.training.device import use_threads

FIGURE, COST = "decoupled.png", "cost.json"
EVALUATION = "E1"  # as the article: x + n, unclipped
COMPARED = 100  # images on which the decoupled network must give the logits of the CNN
TOLERANCE = 1e-4


def run(config: DictConfig, overrides: list[str]) -> None:
    """Judge the cell that `config` names; reads what `article_train` and `article_noise` left."""
    run_cell(Cell.of("article_decoupled", config, overrides), measure)


def measure(cell: Cell[Configuration]) -> list[str]:
    config, options, folder = cell.config, cell.config.decoupled, cell.folder
    check(config.network.name, options)
    use_threads(config.trainer.threads)
    torch.set_flush_denormal(True)  # as `load_inputs` does, for SciPy's products, too
    trained, noised = cell.earlier("article_train"), cell.earlier("article_noise")
    model = load_dense(trained / WEIGHTS, expected=config.network.model_dump())
    columns, noise = vectors(noised / NOISE, options)
    train, _, test = load_images(config.data)
    judged = first_images(test, options.images, name="decoupled.images")
    network = decoupled(model)
    means = metric_means(network, train, count=options.metric_images, seed=config.seed)
    layers = [described(layer, means[layer.name]) for layer in network.layers]
    difference = largest_difference(model, network, judged)
    points: list[DecoupledPoint] = []
    count = functools.partial(judge, data=judged, noise=noise, batch_size=options.batch_size)
    with parts(folder, decided=cell.pieces()) as part:
        pruned = [(CLEAN, [], CLEAN, [0.0]), *plan(options)]
        with bar("points", total=len(pruned), unit="point") as shown:
            for name, chosen, metric, ratios in pruned:
                compute = functools.partial(
                    points_of, network, means, count, name, chosen, metric, ratios
                )
                points += piece(part, f"{name}-{metric}", compute, list[DecoupledPoint])
                shown.update()
        metrics = Decoupled(
            columns=columns,
            evaluation=EVALUATION,
            images=len(judged),
            metric_images=options.metric_images,
            layers=layers,
            largest_difference=difference,
            points=points,
        )
        write_json(folder / METRICS, metrics.as_json())
        timed = options.cost
        ratios = options.ratios.model_dump()[timed.metric]
        cost = layer_cost(network, means, ratios=ratios, **timed.model_dump())
        write_json(folder / COST, cost.as_json())
    report(metrics, cost, options.column, folder, cell.tracker)
    return [METRICS, FIGURE]


def check(network: str, options: Options) -> None:
    """Refuse, before anything is computed, what would fail late."""
    if not DENSE_MODELS[network].convolutions:
        fit = [name for name in DENSE_MODELS if DENSE_MODELS[name].convolutions]
        raise InputError(f"network '{network}' has no convolutions. Allowed: {', '.join(fit)}.")
    known = layer_names(DENSE_MODELS[network])
    for _, layers, *_ in plan(options):
        for layer in layers:
            if layer not in known:
                raise unknown_name("layer to prune", layer, known)


def layer_names(architecture: Architecture) -> list[str]:
    """Names of the layers in the decoupled network."""
    convs = [f"conv{number + 1}" for number, _ in enumerate(architecture.convolutions)]
    return [*convs, *(f"fc{number + 1}" for number, _ in enumerate(architecture.hidden)), "out"]


def plan(options: Options) -> Iterator[tuple[str, list[str], str, list[float]]]:
    """(name, layers, metric, ratios) of everything that is pruned."""
    for name, point in options.points.items():
        chosen = point.ratios if "ratios" in point.model_fields_set else options.ratios
        for metric, ratios in chosen.model_dump(exclude_unset=True).items():
            yield name, point.layers, metric, ratios


def vectors(path: Path, options: Options) -> tuple[list[str], Tensor]:
    """Names of the columns, "none" first, and the vectors (V, 784) behind the others."""
    noise, pairs, _ = load_noise(path)
    labels = [pair_label(pair) for pair in pairs]
    if options.column not in labels:
        raise InputError(
            f"decoupled.column is {options.column!r}, which is not in '{path}'. "
            f"Allowed: {', '.join(labels)}; noise.pairs makes others."
        )
    if not options.every_column:
        chosen = labels.index(options.column)
        labels, noise = [labels[chosen]], noise[chosen : chosen + 1]
    return [CLEAN, *labels], noise


def decoupled(model: DenseNetwork) -> DecoupledNetwork:
    """`model` with sparse convolutions; dense layers stay dense, which is faster."""
    linears = [*model.linears().values(), model.output]
    convs = list(model.convolutions().values())
    return DecoupledNetwork.from_modules(convs, linears, sparse_linears=False)


def metric_means(
    network: DecoupledNetwork, train: ImageSet, *, count: int, seed: int
) -> dict[str, np.ndarray]:
    """Mean input of every layer over `count` training images, drawn without replacement."""
    check_range("decoupled.metric_images", count, low=1, high=len(train))
    drawn = torch.randperm(len(train), generator=generator(seed, "metric images", 0))[:count]
    return network.mean_inputs(as_float(train.take(drawn).images).numpy())


def described(layer: DecoupledLayer, mean: np.ndarray) -> SparseLayer:
    """Shape and entries of a layer."""
    inputs, outputs = layer.weight.shape
    return SparseLayer(
        name=layer.name,
        inputs=inputs,
        outputs=outputs,
        entries=layer.entries,
        active_entries=layer.active_entries(mean),
    )


def largest_difference(model: DenseNetwork, network: DecoupledNetwork, data: ImageSet) -> float:
    """Largest |difference| of the two networks' logits on the first images.

    Raises:
        InputError: if it is more than `TOLERANCE`, or not a number.
    """
    x = as_float(data.images[:COMPARED])
    expected = predict_logits(model, x, batch_size=len(x)).numpy()
    difference = float(np.abs(network(x.numpy()) - expected).max())
    if not difference <= TOLERANCE:
        raise InputError(
            f"logits of the decoupled network differ from the CNN's by {difference:.2g}. "
            f"Allowed: at most {TOLERANCE:g}; train the network again if its weights are huge."
        )
    return difference


def points_of(
    network: DecoupledNetwork,
    means: Mapping[str, np.ndarray],
    count: Callable[[list[DecoupledNetwork]], list[Tally]],
    name: str,
    layers: Sequence[str],
    metric: str,
    ratios: Sequence[float],
) -> list[DecoupledPoint]:
    """Per ratio what was pruned and its counts; `sparsity` is of all these layers together."""
    counts = count([prune_layers(network, layers, metric, ratio, means) for ratio in ratios])
    sizes = [layer.entries for layer in network.layers if layer.name in layers]
    return [
        DecoupledPoint(
            point=name,
            layers=list(layers),
            metric=metric,
            ratio=ratio,
            sparsity=sum(int(ratio * size) for size in sizes) / max(1, sum(sizes)),
            **found._asdict(),
        )
        for ratio, found in zip(ratios, counts, strict=True)
    ]


def prune_layers(
    network: DecoupledNetwork,
    names: Sequence[str],
    metric: str,
    ratio: float,
    means: Mapping[str, np.ndarray],
) -> DecoupledNetwork:
    """`network` without the smallest entries of some layers, each by itself."""
    matrices = {}
    for layer in network.layers:
        if layer.name in names:
            whole = layer.weight
            matrix = whole if sparse.issparse(whole) else dense_as_csr(whole)
            kept = prune_entries(matrix, SCORES[metric](matrix, means[layer.name]), ratio)
            matrices[layer.name] = kept if sparse.issparse(whole) else kept.toarray()
    return network.pruned(matrices)


class Tally(NamedTuple):
    """Correct images per column (1 + V) by the largest logit, and as the author's code counts them.

    It takes the largest ReLU(logit): an output without a positive entry counts as class 0.
    """

    correct: list[int]
    as_run: list[int]
    images: list[int]


def judge(
    networks: Sequence[DecoupledNetwork], data: ImageSet, noise: Tensor, *, batch_size: int
) -> list[Tally]:
    """Correct images of every network without noise and under every vector."""
    correct, as_run = np.zeros((2, len(networks), 1 + len(noise)), int)
    for start in range(0, len(data), batch_size):
        x = as_float(data.images[start : start + batch_size])
        y = data.labels[start : start + batch_size]
        for column, fed in enumerate([x, *apply_noise(x, noise, evaluation=EVALUATION)]):
            for row, found in enumerate(logits_of(networks, fed.numpy())):
                logits = torch.from_numpy(found)
                correct[row, column] += int(is_correct(logits, y).sum())
                as_run[row, column] += int(is_correct(logits.relu(), y).sum())
    images = [len(data)] * (1 + len(noise))
    return [
        Tally(right.tolist(), ran.tolist(), images)
        for right, ran in zip(correct, as_run, strict=True)
    ]


def report(metrics: Decoupled, cost: Cost, column: str, folder: Path, tracker: Tracker) -> None:
    """Figures, the tracked numbers, and tables on the terminal."""
    drawn = robustness_plot(metrics.points, metrics.columns, path=folder / FIGURE)
    tracker.image("decoupled/accuracy", drawn)
    tracker.image("decoupled/cost", cost_plot(cost, path=folder / "cost.png"))
    rows = [accuracies(point, metrics.columns, column) for point in metrics.points]
    tracker.table("decoupled", list(rows[0]), [list(row.values()) for row in rows])
    tracker.summary({"largest_difference": metrics.largest_difference})
    print(f"largest difference of the logits {metrics.largest_difference:.1e}")
    print(summary_table(rows), end="")
    for fit in cost.fits:
        print(
            f"{fit.backend}, {fit.batch_size} images: {1e6 * fit.a:.0f} us + "
            f"{1e9 * fit.b:.3f} ns per entry, R2 {fit.r2:.3f}"
        )


def accuracies(
    point: DecoupledPoint, columns: Sequence[str], column: str
) -> dict[str, str | float]:
    """One row of the printed table: percent without noise, under one vector, mean of all."""
    values = percents(point)
    row = point.model_dump(include={"point", "metric", "ratio"})
    row |= {CLEAN: values[0], column: values[columns.index(column)]}
    if len(values) > 2:
        row["mean of all noise"] = sum(values[1:]) / len(values[1:])
    return row
