"""Stage 4: zero vectors, densities and turnover of the trained and the pruned network (Table 1)."""

from __future__ import annotations

import numpy as np
from omegaconf import DictConfig

from rewire.files import write_json
from rewire.models.artifact import description
from rewire.models.plain import open_network
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import METRICS
from rewire.pipeline.run_cell import run_cell
from rewire.structure.report import StructureReport, structure_report
from rewire.thesis.configuration import Configuration
from rewire.thesis.metrics import Structure, Training
from rewire.thesis.report.matrix_figures import matrix_plot


def run(config: DictConfig, overrides: list[str]) -> None:
    """Report the structure of the cell that `config` names, before and after pruning."""
    run_cell(Cell.of("structure", config, overrides), report)


def report(cell: Cell[Configuration]) -> list[str]:
    sources, folder, tracker = cell.networks(), cell.folder, cell.tracker
    spec = description(cell.config.model)
    # How often a foreign network was re-wired is not known.
    known = None if cell.foreign else Training.read(sources["trained"].with_name(METRICS))
    growth, budget = (known.growth, known.budget) if known else (None, None)
    found: dict[str, StructureReport] = {}
    images = []
    for variant, source in sources.items():
        model = open_network(source, spec=spec)
        weights = {name: weight.numpy() for name, weight in model.weights().items()}
        found[variant] = structure_report(weights, growth=growth, budget=budget)
        images.append(f"{variant}.png")
        pixels = matrix_plot(dense_panels(weights), path=folder / images[-1], suptitle=variant)
        tracker.image(f"structure/{variant}", pixels)
        zero = found[variant].zero_vectors
        print(f"{variant}: {zero.percent:.3f} % of {zero.total:,} vectors are zero")
    write_json(folder / METRICS, Structure(**found).as_json())
    tracker.summary({variant: network.overall() for variant, network in found.items()})
    layers = [
        [variant, layer.name, layer.density_percent, layer.zero_vectors.percent]
        for variant, network in found.items()
        for layer in network.layers
    ]
    tracker.table("layers", ["variant", "layer", "density %", "zero vectors %"], layers)
    return [METRICS, *images]


def dense_panels(weights: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """The 2-D layers of a network, which can be drawn as they are."""
    return [(name, weight) for name, weight in weights.items() if weight.ndim == 2]
