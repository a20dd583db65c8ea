"""What the report shows, as typed objects: nothing here knows files or HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewire.reporting.html.tables import TableView

GOOD, BAD, OPEN = "good", "bad", "open"  # how a verdict is coloured; its word says it as well


@dataclass(frozen=True)
class RowsView:
    """A table without published values.

    Attributes:
        name: unique on the page.
        title: what it shows.
        rows: with equal or missing keys; the keys are the columns.
        note: how to read it.
    """

    name: str
    title: str
    rows: tuple[Mapping[str, Any], ...]
    note: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """All keys in order of first appearance."""
        return tuple(dict.fromkeys(key for row in self.rows for key in row))


@dataclass(frozen=True)
class Mark:
    """A published value: place, value, how far it may be off, and its kind."""

    x: float
    y: float
    error: float = 0.0
    repeat: bool = False


@dataclass(frozen=True)
class Series:
    """One line of a chart; `low` and `high` are the range behind `y`, empty if there is none."""

    label: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis.

    Attributes:
        title: what it shows.
        x_label, y_label: of the axes.
        series: the lines.
        y_range: fixed limits, None: as the values ask for.
        even: values of x stand at equal distances, as of something that grows by factors.
        start: where the axis begins; smaller values of x share a place of their own to its left.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    y_range: tuple[float, float] | None = None
    even: bool = False
    start: float | None = None


@dataclass(frozen=True)
class Panel:
    """One place of a gallery: a chart, or several between which the reader chooses."""

    charts: tuple[tuple[str, Chart], ...]
    choice: str = ""


@dataclass(frozen=True)
class Group:
    """Panels that are shown together; `key` has one value per switch of the gallery."""

    key: tuple[str, ...]
    panels: tuple[Panel, ...]
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Charts behind switches."""

    name: str
    switches: tuple[str, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Layer:
    """The connected weights of one layer, packed.

    Attributes:
        name: of the layer.
        outputs, vectors: shape of its matrix.
        connected, zero_vectors: counts.
        largest: largest |w|.
        places: base64 of varint gaps of vector * outputs + output, rising.
        values: base64 of one int8 per weight, 127 * w / largest, never 0.
    """

    name: str
    outputs: int
    vectors: int
    connected: int
    zero_vectors: int
    largest: float
    places: str
    values: str


@dataclass(frozen=True)
class Matrices:
    """One network: of a training (cells that differ in their strategy share one)."""

    training: str
    strategy: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Figure:
    """Figures of the thesis, and which matrices they show."""

    label: str
    training: str
    layer: str


@dataclass(frozen=True)
class Picture:
    """A PNG that a stage drew."""

    caption: str
    png: bytes


@dataclass(frozen=True)
class Finding:
    """A headline: what was found, its verdict, the numbers behind it and where they stand."""

    text: str
    verdict: str
    evidence: tuple[str, ...]
    anchor: str
    tone: str = OPEN


@dataclass(frozen=True)
class Claim:
    """A claim of the article, scored; fields as of `article_claims.score_claims`."""

    letter: str
    text: str
    verdict: str
    seeds: int
    numbers: tuple[str, ...]
    criterion: str
    published: str
    tone: str


@dataclass(frozen=True)
class Thesis:
    """Everything about the thesis."""

    note: str
    findings: tuple[Finding, ...]
    tables: tuple[TableView, ...]
    further: tuple[TableView, ...]
    paired: RowsView
    matrices: tuple[Matrices, ...]
    figures: tuple[Figure, ...]
    left_out: str
    training: Gallery
    pruning: Gallery
    ways: RowsView
    sanity: Gallery
    checks: RowsView
    cells: RowsView


@dataclass(frozen=True)
class Article:
    """Everything about the article."""

    note: str
    findings: tuple[Finding, ...]
    table: TableView
    claims: tuple[Claim, ...]
    curves: Gallery
    training: Gallery
    further: tuple[RowsView, ...]
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class StageRun:
    """What ran of a stage, and where."""

    stage: str
    cells: int
    hours: float
    commits: tuple[str, ...]
    machines: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """The whole page.

    Attributes:
        profile: its name.
        source: folder that was read, OUTPUT/PROFILE.
        thesis, article: None if nothing of it was run.
        runs: per stage.
        versions: of the libraries.
        warnings: what a reader must know before any number, a sentence each.
    """

    profile: str
    source: str
    thesis: Thesis | None
    article: Article | None
    runs: tuple[StageRun, ...]
    versions: tuple[str, ...]
    warnings: tuple[str, ...] = ()
