"""Stage 4: zero vectors, densities and turnover of the trained and the pruned network (Table 1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from omegaconf import DictConfig

from rewire.files import read_json, write_json
from rewire.models.artifact import description
from rewire.models.plain import open_network
from rewire.pipeline.cell import Cell
from rewire.pipeline.run_cell import run_cell
from rewire.structure.report import structure_report
from rewire.thesis.configuration import Configuration
from rewire.thesis.report.matrix_figures import matrix_plot


def run(config: DictConfig, overrides: list[str]) -> None:
    """Report the structure of the cell that `config` names, before and after pruning."""
    run_cell(Cell.of("structure", config, overrides), report)


def report(cell: Cell[Configuration]) -> list[str]:
    sources, folder, tracker = cell.networks(), cell.folder, cell.tracker
    spec = description(cell.config.model)
    # How often a foreign network was re-wired is not known.
    trained = {} if cell.foreign else read_json(sources["trained"].with_name("metrics.json"))
    metrics: dict[str, Any] = {}
    images = []
    for variant, source in sources.items():
        model = open_network(source, spec=spec)
        weights = {name: weight.numpy() for name, weight in model.weights().items()}
        metrics[variant] = structure_report(
            weights, growth=trained.get("births"), budget=trained.get("budget")
        )
        images.append(f"{variant}.png")
        pixels = matrix_plot(dense_panels(weights), path=folder / images[-1], suptitle=variant)
        tracker.image(f"structure/{variant}", pixels)
        zero = metrics[variant]["zero_vectors"]
        print(f"{variant}: {zero['percent']:.3f} % of {zero['total']:,} vectors are zero")
    write_json(folder / "metrics.json", metrics)
    tracker.summary({variant: overall(metrics[variant]) for variant in metrics})
    layers = [
        [variant, layer["name"], layer["density_percent"], layer["zero_vectors"]["percent"]]
        for variant in metrics
        for layer in metrics[variant]["layers"]
    ]
    tracker.table("layers", ["variant", "layer", "density %", "zero vectors %"], layers)
    return ["metrics.json", *images]


def dense_panels(weights: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """The 2-D layers of a network, which can be drawn as they are."""
    return [(name, weight) for name, weight in weights.items() if weight.ndim == 2]


def overall(report: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a structure report that concern the whole network."""
    return {k: v for k, v in report.items() if k not in ("layers", "histogram")}
