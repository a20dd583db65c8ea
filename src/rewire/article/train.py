"""The article, stage 1: train one dense network."""

from __future__ import annotations

from omegaconf import DictConfig

from rewire.article.configuration import Configuration
from rewire.files import write_json, write_text
from rewire.models.artifact import save_dense
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import HISTORY, METRICS, WEIGHTS
from rewire.pipeline.run_cell import as_csv, run_cell


def run(config: DictConfig, overrides: list[str]) -> None:
    """Train the cell that `config` names; see `conf/article/config.yaml`."""
    run_cell(Cell.of("article_train", config, overrides), work)


def work(cell: Cell[Configuration]) -> list[str]:
    # Not above: a finished cell says so without waiting for Lightning.
    from rewire.training.dense_runner import train_dense

    folder, tracker = cell.folder, cell.tracker
    trained = train_dense(
        cell.config,
        state_of=cell.state_of(),
        checkpoints=cell.kept,
        tracker=tracker,
        report=lambda line: print(line, flush=True),
    )
    save_dense(folder / WEIGHTS, trained.model, spec=cell.config.network.model_dump())
    write_json(folder / METRICS, trained.metrics.as_json())
    write_text(folder / HISTORY, as_csv(trained.history))
    tracker.summary(trained.metrics.as_json())
    tracker.artifact(
        f"weights-{folder.name}",
        type="model",
        files=[folder / WEIGHTS],
        metadata=trained.metrics.clean.as_json(),
    )
    print(f"clean test accuracy {trained.metrics.clean.accuracy:.2f} %")
    return [WEIGHTS, METRICS, HISTORY]
