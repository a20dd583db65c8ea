"""Stage 1: train one sparse network."""

from __future__ import annotations

from omegaconf import DictConfig

from rewire.files import write_json, write_text
from rewire.models.artifact import description, save_network
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import HISTORY, LAST, METRICS, SELECTIONS, WEIGHTS
from rewire.pipeline.run_cell import as_csv, run_cell
from rewire.structure.report import structure_report
from rewire.thesis.configuration import Configuration
from rewire.thesis.metrics import Training


def run(config: DictConfig, overrides: list[str]) -> None:
    """Train the cell that `config` names; see `conf/thesis/config.yaml`."""
    run_cell(Cell.of("train", config, overrides), work)


def work(cell: Cell[Configuration]) -> list[str]:
    # Not above: a finished cell says so without waiting for Lightning.
    from rewire.training.runner import train

    folder, tracker = cell.folder, cell.tracker
    trained = train(
        cell.config,
        state_of=cell.state_of(),
        checkpoints=cell.kept,
        tracker=tracker,
        report=lambda line: print(line, flush=True),
    )
    weights = {name: weight.numpy() for name, weight in trained.model.weights().items()}
    found = trained.metrics
    structure = structure_report(weights, growth=found.growth, budget=found.budget)
    metrics = Training(**dict(found), structure=structure)
    spec = description(cell.config.model)
    save_network(folder / SELECTIONS[LAST], trained.model, spec=spec)
    for name, network in trained.selected.items():
        save_network(folder / SELECTIONS[name], network, spec=spec)
    write_json(folder / METRICS, metrics.as_json())
    write_text(folder / HISTORY, as_csv(trained.history))
    tracker.summary(found.as_json())
    tracker.artifact(
        f"weights-{folder.name}",
        type="model",
        files=[folder / WEIGHTS],
        metadata=found.clean.as_json(),
    )
    print(f"clean test accuracy {found.clean.accuracy:.2f} %")
    return [*(SELECTIONS[name] for name in (LAST, *trained.selected)), METRICS, HISTORY]
