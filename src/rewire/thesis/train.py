"""Stage 1: train one sparse network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rewire.files import write_json, write_text
from rewire.models.artifact import save_network
from rewire.pipeline.document import HISTORY, LAST, METRICS, SELECTIONS, WEIGHTS
from rewire.pipeline.partial_results import kept_folder
from rewire.pipeline.run_cell import as_csv, deciding, model_spec, run_cell
from rewire.structure.report import structure_report
from rewire.tracking import Tracker


def run(config: DictConfig, overrides: list[str]) -> None:
    """Train the cell that `config` names; see `conf/thesis/config.yaml`."""
    run_cell("train", config, overrides, work)


def work(config: dict[str, Any], folder: Path, tracker: Tracker) -> list[str]:
    # Not above: a finished cell says so without waiting for Lightning.
    from rewire.training.runner import train

    trained = train(
        {**deciding(config, "train"), "data": config["data"], "code": config["code"]},
        checkpoints=kept_folder(folder),
        tracker=tracker,
        report=lambda line: print(line, flush=True),
    )
    weights = {name: weight.numpy() for name, weight in trained.model.weights().items()}
    structure = structure_report(
        weights, growth=trained.metrics["births"], budget=trained.metrics["budget"]
    )
    metrics = trained.metrics | {"structure": structure}
    spec = model_spec(config["model"])
    networks = {LAST: trained.model, **trained.selected}
    for name, network in networks.items():
        save_network(folder / SELECTIONS[name], network, spec=spec)
    write_json(folder / METRICS, metrics)
    write_text(folder / HISTORY, as_csv(trained.history))
    tracker.summary({key: value for key, value in metrics.items() if key != "structure"})
    tracker.artifact(
        f"weights-{folder.name}", type="model", files=[folder / WEIGHTS], metadata=metrics["clean"]
    )
    print(f"clean test accuracy {metrics['clean']['accuracy']:.2f} %")
    return [*(SELECTIONS[name] for name in networks), METRICS, HISTORY]
