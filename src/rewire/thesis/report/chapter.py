"""The thesis's part of the report, read from a profile's folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewire.pipeline.common import Profile
from rewire.pipeline.document import HISTORY, WEIGHTS
from rewire.pipeline.profiles import profile_of
from rewire.pipeline.state import Results
from rewire.reporting.html.charts import Seeds, history
from rewire.reporting.html.model import (
    Figure,
    Layer,
    Matrices,
    RowsView,
    Thesis,
)
from rewire.reporting.html.tables import Location, TableView, table_view
from rewire.reporting.table_spec import load_spec
from rewire.thesis import prunings
from rewire.thesis.document import NAME, THESIS
from rewire.thesis.holdings import REWIRE, axes_of, finished, overview, shown_in, specifications
from rewire.thesis.metrics import Examination
from rewire.thesis.paired import comparisons
from rewire.thesis.report.charts import pruning_gallery, sanity_gallery, training_gallery
from rewire.thesis.report.findings import thesis_findings
from rewire.thesis.report.matrices import pack_layers
from rewire.thesis.report.paired_rows import paired_rows
from rewire.thesis.report.paired_table import TITLE, explanation, shown
from rewire.thesis.shown import Result, examination_of, results
from rewire.thesis.tables import FIGURES, weights_of

LARGEST = 5_000_000  # characters of packed weights on the page
ALWAYS = "dense"  # layers that stay when a network would be too much: those of the figures


def read_thesis(state: Results) -> Thesis | None:
    """Everything of the thesis that is in the folder; None if nothing was trained."""
    source, names = state.source, trainings(state.source)
    if not names:
        return None
    profile = profile_of(source, THESIS)
    rows = {name: list(results(source, name, profile.name)) for name in names}
    tables, further = _tables(state, rows, profile)
    axes = axes_of(names)
    pairs = paired_rows(comparisons(source, axes))
    examined = {name: examination_of(source, name) for name in finished(source, "audit")}
    audits = {name: found for name, found in examined.items() if found}  # others are outdated
    ways = prunings.several(source, names)
    matrices, left_out = pack(source, names)
    return Thesis(
        note=profile.note.strip(),
        findings=thesis_findings(
            {view.table.spec.name: view.table for view in tables}, pairs, list(audits.values())
        ),
        tables=tables,
        further=further,
        paired=RowsView(
            "thesis_paired",
            TITLE,
            tuple(shown(row) for row in pairs),
            " ".join(explanation(pairs)) if pairs else "Fewer than two strategies were evaluated.",
        ),
        matrices=matrices,
        figures=figures(matrices),
        left_out=left_out,
        training=training_gallery(by_training(names, source)),
        pruning=pruning_gallery(ways),
        ways=RowsView(prunings.NAME, prunings.TITLE, tuple(prunings.rows_of(ways))),
        sanity=sanity_gallery(_grouped(audits)),
        checks=RowsView("checks", "What else was checked", tuple(_checks(audits))),
        cells=RowsView("cells", "All cells", tuple(overview(source, name) for name in names)),
    )


def _tables(
    state: Results, rows: Mapping[str, Sequence[Result]], profile: Profile
) -> tuple[tuple[TableView, ...], tuple[TableView, ...]]:
    """The thesis's own tables, and those of variants that were run."""

    def locate(result: Result, metric: str) -> Location:
        stage = result.stages[metric.partition(".")[0]]
        own = metric.removeprefix("structure.") if stage == "structure" else metric
        place = own if stage == "train" else f"{result.variant}.{own}"
        return state.locate(stage, result.folder, place=place)

    own, further = [], []
    for path in specifications():
        spec = load_spec(path)
        found = shown_in(spec, rows)
        view = table_view(spec, found, profile=profile.name, note=profile.note, locate=locate)
        if not any(cell.n for cell in view.table.cells):
            continue
        if path.parent.name == "table":
            own.append(view)
        elif compares(view):
            further.append(view)
    return tuple(own), tuple(further)


def compares(view: TableView) -> bool:
    """Whether anything but standard cells was run of a table whose columns are cells."""
    cells = list(view.table.spec.columns)
    return any(not axes_of([f"{cells[i]}-seed0"])["cells"] for i in view.columns_run)


def trainings(source: Path) -> list[str]:
    """Finished trainings in the order of the thesis's figures and strategies, variants last."""
    figures = list(dict.fromkeys(cell for _, cell, _ in FIGURES))

    def place(order: Sequence[str], name: str) -> int:
        return order.index(name) if name in order else len(order)

    def key(name: str) -> tuple[int, bool, int]:
        training, strategy = split(name)
        plain, _, variant = strategy.partition(" ")
        return place(figures, training), bool(variant), place(REWIRE, plain)

    return sorted(finished(source, "train"), key=key)


def split(name: str) -> tuple[str, str]:
    """(training, strategy) of a cell; what makes it a variant belongs to its strategy."""
    match = NAME.fullmatch(name)
    if match is None:
        return name, name
    return match["base"], match["rewire"] + (f" ({match['rest']})" if match["rest"] else "")


def by_training(names: Iterable[str], source: Path) -> dict[str, dict[str, Seeds]]:
    """Training → strategy → histories of its seeds."""
    found: dict[str, dict[str, Seeds]] = {}
    for name in names:
        path = source / "train" / name / HISTORY
        if path.is_file():
            training, strategy = split(name)
            strategies = found.setdefault(training, {})
            strategies[strategy] = [*strategies.get(strategy, ()), history(path)]
    return found


def pack(source: Path, names: Sequence[str]) -> tuple[tuple[Matrices, ...], str]:
    """The networks of the first seed of every cell, and which ones would be too much."""
    drawn: dict[tuple[str, str], Matrices] = {}
    total, left_out = 0, []
    for name in names:
        path = source / "train" / name / WEIGHTS
        if split(name) in drawn or not path.is_file():
            continue
        layers = pack_layers(weights_of(path))
        if total + size(layers) > LARGEST:
            left_out.append(name)
            layers = tuple(layer for layer in layers if layer.name.startswith(ALWAYS))
        if total + size(layers) > LARGEST:
            continue
        total += size(layers)
        drawn[split(name)] = Matrices(*split(name), layers)
    note = f"To keep the page small, some layers of {', '.join(left_out)} are not on it."
    return tuple(drawn.values()), note if left_out else ""


def size(layers: Iterable[Layer]) -> int:
    """Characters of packed weights."""
    return sum(len(layer.places) + len(layer.values) for layer in layers)


def figures(matrices: Iterable[Matrices]) -> tuple[Figure, ...]:
    """The thesis's figures of trainings that are there."""
    there = {found.training for found in matrices}
    return tuple(
        Figure(name.replace("_", " "), cell, layer)
        for name, cell, layer in FIGURES
        if cell in there
    )


def _grouped(audits: Mapping[str, Examination]) -> dict[str, dict[str, Examination]]:
    found: dict[str, dict[str, Examination]] = {}
    for name, metrics in audits.items():
        training, strategy = split(name)
        seed = NAME.fullmatch(name)
        label = f"{strategy}, seed {seed['seed']}" if seed and seed["seed"] != "0" else strategy
        found.setdefault(training, {})[label] = metrics
    place = {name: i for i, name in enumerate(REWIRE)}
    return {
        training: dict(sorted(each.items(), key=lambda item: place.get(item[0], len(place))))
        for training, each in found.items()
    }


def _checks(audits: Mapping[str, Examination]) -> Iterable[dict[str, Any]]:
    """One row per examined cell: what else was tried, in images, and the flags."""
    for name, found in audits.items():
        checks = found.checks
        noise, transfer, auto = checks.random_noise, checks.transfer, checks.autoattack
        yield {
            "cell": name,
            "images": found.images,
            "clean right": found.clean,
            "right under the attack": found.robust,
            "under plain noise": noise and noise.correct,
            "under another network's images": transfer and transfer.correct,
            "fooled by these alone": transfer and transfer.beyond,
            "fooled through dead ReLUs alone": checks.straight_through
            and checks.straight_through.beyond,
            "gradients all zero": checks.input_gradients and checks.input_gradients.all_zero,
            "under AutoAttack": auto and auto.correct,
            "flags": "; ".join(flag.reason for flag in found.flags) or "none",
        }
