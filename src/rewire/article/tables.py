"""The article, last stage: its table, plots and scored claims from what the stages left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rewire.article.collected import LISTS, Results, collected, noting
from rewire.article.configuration import Configuration
from rewire.article.document import ARTICLE
from rewire.article.report.best_performance import (
    NETWORK,
    Performance,
    ordering,
    ordering_markdown,
    table1_results,
)
from rewire.article.report.claims import claims_markdown, score_claims
from rewire.article.report.curve_lines import curves_csv
from rewire.article.report.curve_plots import plot_curves
from rewire.article.report.decoupled_rows import decoupled_rows
from rewire.article.report.noise_rows import (
    adaptive_rows,
    noise_numbers,
    noise_rows,
    rows_markdown,
    trainability_rows,
    transfer_rows,
)
from rewire.article.report.pruning_rows import (
    control_rows,
    dead_pixel_rows,
    matched_rows,
    point_rows,
)
from rewire.article.report.published_curves import load_plot
from rewire.article.report.runs import Outdated, Run
from rewire.files import writable_folder, write_json, write_text
from rewire.pipeline.cell import Cell
from rewire.pipeline.common import Profile
from rewire.pipeline.console import run_by_dvc
from rewire.pipeline.dvc_views import write_views
from rewire.pipeline.params import PARAMS, read_axes
from rewire.pipeline.paths import CONF
from rewire.pipeline.tracked_tables import track_table, tracked_tables
from rewire.reporting.build_table import build_table, write_table
from rewire.reporting.html.model import RowsView
from rewire.reporting.table_spec import TableSpec, load_spec
from rewire.tracking import Tracker


def run(config: DictConfig, overrides: list[str]) -> None:
    """Write the article's tables and figures, for the cells in `params.yaml`."""
    asked: Configuration = Cell.of("article_tables", config, overrides).config
    profile, output = asked.profile, Path(asked.output)
    axes = read_axes(PARAMS, "article", (*dict.fromkeys(LISTS.values()), "seeds"))
    writable_folder(output / "tables")
    base = output / profile.name
    folders = {
        stage: [
            base / stage / f"{cell}-seed{seed}" for cell in axes[cells] for seed in axes["seeds"]
        ]
        for stage, cells in LISTS.items()
    }
    results = collected(folders, profile.name)
    profile = noting(profile, results, results.folders)
    with tracked_tables(asked, axes, document="article", stage="article_tables") as tracker:
        write_tables(results, output / "tables", profile, tracker)
        draw(results.runs, output / "figures", profile.note, tracker)
    listed = [f"{cell}-seed{seed}" for cell in axes["cells"] for seed in axes["seeds"]]
    measured = {cell.folder.name: noise_numbers(cell) for cell in results.noise}
    rows = {cell: measured.get(cell, {}) for cell in listed}
    write_views(output, ARTICLE, rows=rows, trainings=base / "article_train")
    print(f"wrote {output / 'tables'} and {output / 'figures'}")


def write_tables(results: Results, folder: Path, profile: Profile, tracker: Tracker) -> list[Path]:
    """Table 1, the order of the prunings, the claims, and what the article lacks.

    Returns:
        The Markdown files of the tables that show a result.
    """
    note, runs = profile.note, results.runs
    spec = load_spec(CONF / "article" / "table" / "article_table1.yaml")
    shown = [*table1_results(runs), *outdated_results(spec, results.outdated)]
    table = build_table(spec, shown, profile=profile.name, note=note)
    table1, *_ = write_table(table, folder)
    if not run_by_dvc():
        print("\n" + table1.read_text())
    track_table(table, tracker)

    def write(name: str, value: Any, text: str) -> Path:
        write_text(folder / f"{name}.md", text)
        write_json(folder / f"{name}.json", value)
        return folder / f"{name}.md"

    order = ordering(runs)
    ordered = write("article_ordering", order.as_json(), ordering_markdown(order, note=note))
    shows = any(cell.n or cell.outdated for cell in table.cells)  # a page of the CNN alone: no
    written = [table1, ordered] if shows else []
    claims = score_claims(runs=runs, noise=results.noise, decoupled=results.decoupled)
    scored = [claim.as_json() for claim in claims]
    written += [write("article_claims", scored, claims_markdown(claims, note=note))]
    for claim in () if run_by_dvc() else claims:
        print(f"({claim.claim}) {claim.verdict:<13} {claim.text}")
    columns = ["claim", "verdict", "text", "numbers"]
    tracker.table("article_claims", columns, [[row[key] for key in columns] for row in scored])

    for view in further(results):
        text = rows_markdown(view.rows, title=view.title, note=note)
        path = write(view.name, view.rows, text)
        if view.rows:
            written.append(path)
            keys = list(dict.fromkeys(key for row in view.rows for key in row))
            tracker.table(view.name, keys, [[row.get(key) for key in keys] for row in view.rows])
    return written


def outdated_results(spec: TableSpec, outdated: Sequence[Outdated]) -> Iterator[Performance]:
    """Results without a number for the cells of Table 1 whose pruning curves are outdated."""
    selectors = {tuple(sorted(row.selector.items())): row.metric for row in spec.rows}
    for curves in outdated:
        if curves.folder.parent.name != "article_curves" or curves.network != NETWORK:
            continue
        for selector, metric in selectors.items():
            if dict(selector)["head"] != curves.head:
                continue
            cell = {**dict(selector), "seed": curves.seed, "profile": curves.profile}
            again = {metric.partition(".")[0]: curves.command}
            for column in spec.columns:
                yield Performance(**cell | {spec.axis: column}, metrics={}, outdated=again)


def further(results: Results) -> Iterator[RowsView]:
    """Tables that the article lacks."""
    noise, runs = results.noise, results.runs
    networks = ("ann", "cnn")
    for network in networks:
        yield RowsView(
            f"article_noise_{network}",
            f"Unpruned {network} under noise made (G1 as coded, G2 clipped once) and "
            "judged (E1 unclipped, E2 clipped) both ways",
            tuple(noise_rows(noise, network=network)),
        )
    for network in networks:
        yield RowsView(
            f"article_trainability_{network}",
            f"Can noise be trained through a quadratic loss? ({network})",
            tuple(trainability_rows(noise, network=network)),
        )
    for evaluation in ("E1", "E2"):
        yield RowsView(
            f"article_transfer_{evaluation}",
            f"Noise of one head (G1, G2) on the network of another, {evaluation}",
            tuple(transfer_rows(results.transfer, evaluation=evaluation)),
        )
    for network in networks:
        moved = adaptive_rows(results.adaptive, noise, network=network)
        yield RowsView(
            f"article_adaptive_{network}",
            f"Pruned {network} under the noise of the unpruned one and under its own",
            tuple(row.as_json() for row in moved),
        )
    yield RowsView("article_controls", "Controls at equal ratios", tuple(control_rows(runs)))
    yield RowsView("article_matched", "At matched clean accuracy", tuple(matched_rows(runs)))
    yield RowsView(
        "article_dead_pixels", "Pixels that are black in the sample", tuple(dead_pixel_rows(runs))
    )
    for network in networks:
        yield RowsView(
            f"article_points_{network}",
            f"Configured points of the {network}",
            tuple(point_rows(runs, network=network, points=("none", "layers"))),
        )
    yield RowsView(
        "article_decoupled",
        "Decoupled convolutions: every spatial copy of a weight pruned by itself",
        tuple(decoupled_rows(results.decoupled)),
    )


def draw(runs: Sequence[Run], folder: Path, note: str, tracker: Tracker) -> None:
    """The article's nine plots as PNG and CSV, published points drawn in; RQ where it was run."""
    heads = sorted({run.head for run in runs})
    for path in sorted((CONF / "article" / "published").glob("*.yaml")):
        plot = load_plot(path)
        for head in heads:
            if not any(run.network == plot.network and run.head == head for run in runs):
                continue
            name = f"article_{path.stem}" + ("" if head == "lq" else f"_{head}")
            pixels = plot_curves(plot, runs, folder / f"{name}.png", note=note, head=head)
            write_text(folder / f"{name}.csv", curves_csv(plot, runs, head=head))
            tracker.image(name, pixels)
