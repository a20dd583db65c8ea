"""The configuration of the article (`rewire.pipeline.schema` adds what is chosen)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from rewire.options import (
    All,
    Allowed,
    Called,
    Count,
    Null,
    Positive,
    Precision,
    Section,
    Share,
    Some,
    Text,
    optional,
)
from rewire.pipeline.common import Common
from rewire.training.settings import DenseTraining

Target = Annotated[int, Field(ge=0, le=9), Called("the target class of the noise")]
Limit = Annotated[Some, Called("the limit of the noise")]
Pair = Annotated[tuple[Target, Limit], Field(strict=False)]
Pairs = Annotated[
    list[Pair],
    Field(min_length=1),
    Allowed("a list of [class 0..9, limit above 0 and at most 1], at least one"),
]


def _rising(segment: tuple[float, float, float]) -> tuple[float, float, float]:
    if segment[0] > segment[1]:
        raise ValueError
    return segment


Segment = Annotated[tuple[Share, Share, Some], Field(strict=False), AfterValidator(_rising)]
Segments = Annotated[
    list[Segment],
    Field(min_length=1),
    Allowed(
        "a list of [first ratio, last ratio, step] with 0 <= first <= last <= 1 and a positive "
        "step, at least one"
    ),
]
Evaluations = Annotated[
    list[Literal["E1", "E2"]],
    Field(min_length=1),
    Allowed("a list of E1 (unclipped) and E2 (clipped), at least one"),
]
Loss = Literal["ce", "quadratic_linear", "quadratic_relu", "quadratic_softmax"]
Optimiser = Literal["sgd", "sign", "adam"]
Metric = Literal["absolute", "activated", "mean_x", "random", "combined"]
Scored = Literal["absolute", "activated"]
Names = Annotated[list[Text], Field(min_length=1), Allowed("a list of names, at least one")]
Offset = Annotated[float, Field(gt=-1, le=1)]
Ratios = Annotated[list[Some], Allowed("a list of ratios above 0 and at most 1")]
Kept = Annotated[list[Share], Allowed("a list of ratios from 0 to 1")]
Counts = Annotated[list[Count], Allowed("a list of whole numbers from 1")]
Backends = Annotated[list[Literal["scipy", "torch"]], Allowed("a list of scipy and torch")]
PointNames = Annotated[list[Text], Allowed("a list of names of points")]
Matrices = Annotated[Names | None, Null("all hidden dense layers")]
Draws = Annotated[Count | None, Null("all")]
Pruning = Annotated[
    Share | dict[str, Share],
    Allowed("a ratio from 0 to 1, or a mapping of layers to ratios"),
]


class Run(Section):
    """One short run."""

    loss: Loss
    optimiser: Optimiser
    lr: Positive


Runs = Annotated[
    list[Run],
    Allowed(
        "a list of {loss: ce | quadratic_linear | quadratic_relu | quadratic_softmax, "
        "optimiser: sgd | sign | adam, lr: > 0}"
    ),
]
PairsByNetwork = dict[str, Pairs]


class Trainability(Section):
    """Whether a loss can make noise at all."""

    list: PairsByNetwork = Field(description="pairs by network")
    pairs: Pairs = Field(description="[target class, limit] of each vector")
    steps: Count = Field(description="of each run")
    runs: Runs = Field(description="loss, optimiser and learning rate of each run")


class Noise(Section):
    """Universal noise: one vector for each target class and limit."""

    name: Text = Field(description="of the list")
    list: PairsByNetwork = Field(description="pairs by network")
    pairs: Pairs = Field(description="[target class, limit] of each vector")
    steps: Count = Field(description="of the noise's optimiser")
    batch_size: Count = Field(description="training images per step")
    lr: Positive = Field(description="of the noise's optimiser")
    loss: Loss = Field(description="ce as the article's text, quadratic_softmax as its notebook")
    optimiser: Optimiser = Field(description="sgd (plain) as the article's")
    precision: Precision = Field(description="auto: bf16 where the hardware computes it")
    vectors_per_pass: Count | Literal["auto"] = Field(
        description="auto: 1 on a CPU, all at once on a GPU"
    )
    trainability: Trainability


class Curve(Section):
    """What one curve prunes, and how it is judged."""

    metric: Metric = Field(description="what the smallest of goes")
    matrices: Matrices = Field(description="layers that are pruned")
    grid: Text = Field(description="a name in grids")
    draws: Count = Field(description="samples of training images, or orders of random")
    count: All = Field(description="training images per sample")
    fresh: bool = Field(description="every matrix gets a sample of its own")
    offset: Offset = Field(description="combined: activated goes this much less far than absolute")
    include_output: bool = Field(description="prune the output layer, too")
    evaluations: Evaluations = Field(description="E1 unclipped, E2 clipped to [0, 1]")
    images: All = Field(description="the first n of those that are judged")


if TYPE_CHECKING:
    CurveChange = Curve
else:
    CurveChange = optional(Curve)  # what is not common


class Point(Section):
    """Ratios of one network, by metric."""

    absolute: Pruning = 0
    activated: Pruning = 0
    mean_x: Pruning = 0
    random: Pruning = 0


PointsByName = dict[str, Point]
CurvesByName = dict[str, CurveChange]
Grids = dict[str, Segments]


class Points(Section):
    """Networks that are pruned in several ways at once."""

    evaluations: Evaluations = Field(description="E1 unclipped, E2 clipped to [0, 1]")
    draws: Count = Field(description="samples of training images")
    list: PointsByName = Field(description="metric: ratio of every hidden matrix, or by matrix")


class Curves(Section):
    """What is pruned how far, on fixed noise."""

    name: Text = Field(description="of the list")
    common: Curve
    list: CurvesByName = Field(description="curves, with what is not common")
    grids: Grids = Field(description="segments [first ratio, last ratio, step]")
    images: All = Field(description="test images that are judged, the first n")
    step_factor: Count = Field(description="n: every n-th ratio of a segment, and those in keep")
    keep: Kept = Field(description="ratios that stay whatever the step_factor")
    most_draws: Draws = Field(description="n: at most n draws of any curve or point")
    points: Points
    adaptive: PointNames = Field(description="points on which noise is made anew")


class RatiosByMetric(Section):
    """Shares of every matrix that go."""

    absolute: Ratios = Field([], description="by |w|")
    activated: Ratios = Field([], description="by |w * mean x|")


class DecoupledPoint(Section):
    """Layers that are pruned together, each by itself."""

    layers: Names
    ratios: RatiosByMetric = RatiosByMetric()


class Cost(Section):
    """Seconds of a product against the entries of its matrix."""

    metric: Scored = Field(description="by which the matrices are pruned")
    batch_sizes: Counts = Field(description="images per product")
    backends: Backends = Field(description="who multiplies")
    repeats: Count = Field(description="timings of which the median counts")


DecoupledPoints = dict[str, DecoupledPoint]


class Decoupled(Section):
    """Convolutions as sparse matrices."""

    images: All = Field(description="test images that are judged, the first ones")
    metric_images: Count = Field(description="training images behind the activated metric")
    column: Text = Field(description="noise that must be among the cell's")
    every_column: bool = Field(description="whether the cell's other vectors are judged, too")
    batch_size: Count = Field(description="images per product")
    ratios: RatiosByMetric
    points: DecoupledPoints = Field(description="layers that are pruned together")
    cost: Cost


class Configuration(Common, DenseTraining):
    """One network of the article, at one stage."""

    noise: Noise
    curves: Curves
    decoupled: Decoupled
