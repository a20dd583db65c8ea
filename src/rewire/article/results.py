"""What the stages of the article measured: the content of their files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from pydantic import TypeAdapter

from rewire.errors import InputError
from rewire.files import csv_text
from rewire.pipeline.partial_results import Part
from rewire.record import Record

T = TypeVar("T")
CURVES = "curves.csv"  # of `article_curves`
Count = tuple[int, int]
"""(correct images, images)."""
Ratios = dict[str, float | dict[str, float]]
"""Metric → the share that goes: of every matrix, or by matrix."""


class Counted(Protocol):
    """Correct images and images per column: without noise, then under every vector."""

    @property
    def correct(self) -> Sequence[int]: ...
    @property
    def images(self) -> Sequence[int]: ...


class Counts(Record):
    """Nothing but what was counted per column."""

    correct: list[int]
    images: list[int]


class Total(Record):
    """Correct images of all."""

    correct: int
    images: int


class Accuracy(Record):
    """Correct images of all, and their share in percent."""

    correct: int
    total: int
    accuracy: float


class Trained(Record):
    """metrics.json of `article_train`; `validation` is absent without held-out images."""

    clean: Accuracy
    validation: Accuracy | None = None
    steps: int
    selection: str
    precision: str


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


class CurveRow(NamedTuple):
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
    """metrics.json of `article_transfer`; `sources` is head → evaluation → counts."""

    columns: list[str]
    sources: dict[str, dict[str, Counts]]


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


def percents(measured: Counted) -> list[float]:
    """Accuracy of every column in percent."""
    return [100 * k / n for k, n in zip(measured.correct, measured.images, strict=True)]


def counted(measured: Counted, columns: Sequence[str]) -> dict[str, Count]:
    """Column → counts.

    Raises:
        InputError: for lists of other lengths than `columns`, or impossible counts.
    """
    correct, images = measured.correct, measured.images
    if not len(correct) == len(images) == len(columns):
        raise InputError(
            f"{len(correct)} counts of {len(images)} for {len(columns)} columns. Allowed: as many."
        )
    if any(not 0 <= k <= n for k, n in zip(correct, images, strict=True)):
        raise InputError(f"{correct} of {images} images are correct: impossible.")
    return dict(zip(columns, zip(correct, images, strict=True), strict=True))


def accuracies(measured: Counted, columns: Sequence[str]) -> dict[str, float]:
    """Column → accuracy; columns without images are out. Raises as `counted`."""
    return {column: k / n for column, (k, n) in counted(measured, columns).items() if n}


def curves_text(rows: Sequence[CurveRow]) -> str:
    """The content of a curves.csv."""
    return csv_text(CurveRow._fields, rows)


def read_curves(path: Path) -> list[CurveRow]:
    """The rows of a curves.csv.

    Raises:
        InputError: if it is missing, damaged, or holds impossible counts; names the file.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [
                CurveRow(
                    row["curve"],
                    int(row["draw"]),
                    float(row["ratio"]),
                    float(row["sparsity"]),
                    row["evaluation"],
                    row["column"],
                    int(row["correct"]),
                    int(row["images"]),
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"'{path}' is missing or damaged: {error!r}") from error
    for row in rows:
        if not 0 <= row.correct <= row.images or not row.images:
            raise InputError(
                f"'{path}': {row.correct} of {row.images} images are correct: impossible."
            )
    return rows


def piece(part: Part, name: str, compute: Callable[[], T], kind: type[T]) -> T:
    """`part` of `rewire.pipeline.partial_results` for records: `kind` is e.g. `list[Trial]`."""
    values = TypeAdapter(kind)

    def plain() -> object:
        return values.dump_python(compute(), by_alias=True, exclude_unset=True)

    return values.validate_python(part(name, plain))
