"""Stage 6: the thesis's tables and figures from what the other stages left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from rewire.files import MANIFEST, writable_folder
from rewire.models.artifact import load_network
from rewire.pipeline.cell import Cell
from rewire.pipeline.console import run_by_dvc
from rewire.pipeline.document import WEIGHTS
from rewire.pipeline.dvc_views import write_views
from rewire.pipeline.made import remark
from rewire.pipeline.params import PARAMS, read_axes
from rewire.pipeline.paths import CONF
from rewire.pipeline.tracked_tables import track_table, tracked_tables
from rewire.reporting.build_table import build_table, write_table
from rewire.reporting.table_spec import load_spec
from rewire.thesis.configuration import Configuration
from rewire.thesis.document import THESIS
from rewire.thesis.paired import write_paired
from rewire.thesis.report.matrix_figures import density_plot, matrix_plot
from rewire.thesis.shown import EXAMINED, Metrics, Result, results
from rewire.tracking import Tracker

# Figures of the thesis: number, experiment, dense layer (its "layer 8" is the first of them).
FIGURES = (
    ("figures_3-5", "natural-s0.99", "dense2"),
    ("figures_6-8", "natural-s0.95", "dense2"),
    ("figures_9-11", "trades-s0.95", "dense2"),
    ("figures_12-14", "natural-s0.99", "dense1"),
)


def run(config: DictConfig, overrides: list[str]) -> None:
    """Write outputs/tables and outputs/figures for the cells that `params.yaml` lists."""
    asked: Configuration = Cell.of("tables", config, overrides).config
    profile, output = asked.profile, Path(asked.output)
    axes = read_axes(PARAMS, "thesis", ("cells", "rewire", "seeds"))
    writable_folder(output / "tables")
    base = output / profile.name
    results = list(collect(base, axes, profile.name))
    if said := remark(base / stage / name for stage in THESIS.with_results for name in cells(axes)):
        print(said.strip())
        profile = profile.noting(said)
    with tracked_tables(asked, axes, document="thesis", stage="tables") as tracker:
        for path in sorted((CONF / THESIS.name / "table").glob("thesis_*.yaml")):
            table = build_table(load_spec(path), results, profile=profile.name, note=profile.note)
            paths = write_table(table, output / "tables")
            track_table(table, tracker)
            if not run_by_dvc():
                print("\n" + paths[0].read_text())
        write_paired(base, axes, output / "tables", profile=profile, tracker=tracker)
        draw(base, output / "figures", axes, tracker)
    write_views(output, THESIS, rows=numbers(results, axes), trainings=base / "train")
    print(f"wrote {output / 'tables'} and {output / 'figures'}")


def collect(base: Path, axes: dict[str, list], profile: str) -> Iterator[Result]:
    """The results of all finished cells of the matrix; a table says which were not run."""
    for name in cells(axes):
        yield from results(base, name, profile)


def numbers(results: Sequence[Result], axes: dict[str, list]) -> dict[str, dict[str, float | None]]:
    """Cell → what is asked first of its trained network, in percent."""
    found = {r.folder: r.metrics for r in results if r.variant == EXAMINED}

    def of(cell: str) -> dict[str, float | None]:
        metrics = found.get(cell, Metrics())
        structure = metrics.structure
        return {
            "clean": metrics.clean.accuracy if metrics.clean else None,
            "robust": metrics.robust.accuracy if metrics.robust else None,
            "zero vectors": structure.zero_vectors.percent if structure else None,
        }

    return {cell: of(cell) for cell in cells(axes)}


def cells(axes: dict[str, list]) -> Iterator[str]:
    """Folder name of every cell of the matrix."""
    for name in axes["cells"]:
        for rewire in axes["rewire"]:
            for seed in axes["seeds"]:
                yield f"{name}-{rewire}-seed{seed}"


def draw(base: Path, folder: Path, axes: dict[str, list], tracker: Tracker) -> None:
    """Matrix plots of figures 3-14, strategies side by side, and the densities per layer."""
    seed = axes["seeds"][0]
    for name, cell, layer in FIGURES:
        trained = {r: base / "train" / f"{cell}-{r}-seed{seed}" for r in axes["rewire"]}
        there = {r: path / WEIGHTS for r, path in trained.items() if (path / MANIFEST).is_file()}
        if not there or not all(path.is_file() for path in there.values()):
            continue  # no picture without the networks that were too large to be published
        networks = {rewire: weights_of(path) for rewire, path in there.items()}
        pixels = matrix_plot(
            [(rewire, weights[layer]) for rewire, weights in networks.items()],
            path=folder / f"{name}_{cell}_{layer}.png",
            suptitle=f"{cell}, {layer}: non-zero weights (thesis, {name.replace('_', ' ')})",
        )
        tracker.image(name, pixels)
        if layer == "dense2":
            densities = {
                rewire: {n: 100 * float(np.mean(w != 0)) for n, w in weights.items()}
                for rewire, weights in networks.items()
            }
            pixels = density_plot(
                densities, path=folder / f"density_{cell}.png", title=f"{cell}: density per layer"
            )
            tracker.image(f"density_{cell}", pixels)


def weights_of(path: Path) -> dict[str, np.ndarray]:
    """Layer name → weight of a saved network."""
    model, _ = load_network(path)
    return {name: weight.numpy() for name, weight in model.weights().items()}
