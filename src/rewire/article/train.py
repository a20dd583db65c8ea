"""Second document, stage 1: train one dense network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rewire.files import write_json, write_text
from rewire.models.artifact import save_dense
from rewire.pipeline.document import HISTORY, METRICS, WEIGHTS
from rewire.pipeline.partial_results import kept_folder
from rewire.pipeline.run_cell import as_csv, deciding, run_cell
from rewire.tracking import Tracker


def run(config: DictConfig, overrides: list[str]) -> None:
    """Train the cell that `config` names; see `conf/article/config.yaml`."""
    run_cell("article_train", config, overrides, work)


def work(config: dict[str, Any], folder: Path, tracker: Tracker) -> list[str]:
    # Not above: a finished cell says so without waiting for Lightning.
    from rewire.training.dense_runner import train_dense

    trained = train_dense(
        {**deciding(config, "article_train"), "data": config["data"], "code": config["code"]},
        checkpoints=kept_folder(folder),
        tracker=tracker,
        report=lambda line: print(line, flush=True),
    )
    save_dense(folder / WEIGHTS, trained.model, spec=config["network"])
    write_json(folder / METRICS, trained.metrics)
    write_text(folder / HISTORY, as_csv(trained.history))
    tracker.summary(trained.metrics)
    tracker.artifact(
        f"weights-{folder.name}",
        type="model",
        files=[folder / WEIGHTS],
        metadata=trained.metrics["clean"],
    )
    print(f"clean test accuracy {trained.metrics['clean']['accuracy']:.2f} %")
    return [WEIGHTS, METRICS, HISTORY]
