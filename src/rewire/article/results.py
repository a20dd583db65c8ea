"""What the stages of the article measured: the content of their files."""

from __future__ import annotations

from rewire.record import Record

CURVES = "curves.csv"  # of `article_curves`
Ratios = dict[str, float | dict[str, float]]
"""Metric → the share that goes: of every matrix, or by matrix."""


class Counts(Record):
    """Correct images and images per column: without noise, then under every vector."""

    correct: list[int]
    images: list[int]


class Total(Record):
    """Correct images of all."""

    correct: int
    images: int


class Trial(Record):
    """Accuracy (E1) under one vector of a short run."""

    loss: str
    optimiser: str
    lr: float
    column: str
    correct: int
    images: int


class Noised(Record):
    """metrics.json of `article_noise`.

    Attributes:
        pairs, columns: the vectors, and their names behind that of the clean images.
        accuracy: variant → evaluation → "all" or "non_target" images → counts.
    """

    pairs: list[tuple[int, float]]
    columns: list[str]
    steps: int
    precision: str
    accuracy: dict[str, dict[str, dict[str, Counts]]]
    trainability: list[Trial]


class PrunedPoint(Record):
    """One pruned network on the test images, and clean on the held-out ones (None without any)."""

    point: str
    draw: int
    ratios: Ratios
    sparsity: float
    evaluation: str
    correct: list[int]
    images: list[int]
    validation: Total | None


class DeadPixels(Record):
    """Pixels that are black in the whole sample; `accuracy` is by what is done about them."""

    sample: int
    pixels: int
    share: float
    evaluation: str
    accuracy: dict[str, Counts]


class Pruned(Record):
    """metrics.json of `article_curves`; `dead_inputs` is by matrix."""

    columns: list[str]
    images: int
    points: list[PrunedPoint]
    dead_pixels: DeadPixels
    dead_inputs: dict[str, int]


class CurveRow(Record):
    """One row of the curves.csv of `article_curves`."""

    curve: str
    draw: int
    ratio: float
    sparsity: float
    evaluation: str
    column: str
    correct: int
    images: int


class AdaptedPoint(Record):
    """One pruned network under the unpruned one's noise (static) and under its own."""

    point: str
    ratios: Ratios
    sparsity: float
    static: Counts
    adaptive: Counts


class Adapted(Record):
    """metrics.json of `article_adaptive`."""

    columns: list[str]
    steps: int
    evaluation: str
    points: list[AdaptedPoint]


class Transferred(Record):
    """metrics.json of `article_transfer`; `sources` is head → variant → evaluation → counts."""

    columns: list[str]
    sources: dict[str, dict[str, dict[str, Counts]]]


class SparseLayer(Record):
    """A layer of the decoupled network; entries are active whose mean input is not 0."""

    name: str
    inputs: int
    outputs: int
    entries: int
    active_entries: int


class DecoupledPoint(Record):
    """The decoupled network with some layers pruned; `as_run` is judged as in the author's code."""

    point: str
    layers: list[str]
    metric: str
    ratio: float
    sparsity: float
    correct: list[int]
    as_run: list[int]
    images: list[int]


class Decoupled(Record):
    """metrics.json of `article_decoupled`; the first point is not pruned."""

    columns: list[str]
    evaluation: str
    images: int
    metric_images: int
    layers: list[SparseLayer]
    largest_difference: float
    points: list[DecoupledPoint]
