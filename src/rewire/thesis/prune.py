"""Stage 2: remove the lonely weights of a trained network (thesis, section 4)."""

from __future__ import annotations

import torch
from omegaconf import DictConfig

from rewire.data.batches import EvalBatches
from rewire.data.load import load_images
from rewire.files import write_json
from rewire.models.artifact import description, save_network
from rewire.models.plain import open_network
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import METRICS, WEIGHTS
from rewire.pipeline.run_cell import run_cell
from rewire.pruning.batchnorm import reestimate_batchnorm
from rewire.pruning.lonely import prune_lonely
from rewire.thesis.configuration import Configuration
from rewire.thesis.metrics import Pruning

METHODS = {"lonely": prune_lonely}


def run(config: DictConfig, overrides: list[str]) -> None:
    """Prune the cell that `config` names; reads what stage `train` left."""
    run_cell(Cell.of("prune", config, overrides), prune)


def prune(cell: Cell[Configuration]) -> list[str]:
    options, trained = cell.config.prune, cell.networks()["trained"]
    folder, tracker = cell.folder, cell.tracker
    spec = description(cell.config.model)
    model = open_network(trained, spec=spec)
    weights = {name: weight.numpy() for name, weight in model.weights().items()}
    pruned, removed = METHODS[options.name](weights, layers=options.layers)
    model.set_weights({name: torch.from_numpy(weight) for name, weight in pruned.items()})
    if options.reestimate_batchnorm:
        training, _, _ = load_images(cell.config.data)
        reestimate_batchnorm(model, EvalBatches(training, batch_size=500))
    total = sum(removed.values())
    connected = sum(int((weight != 0).sum()) for weight in weights.values())
    metrics = Pruning(
        removed=removed,
        removed_total=total,
        connected_before=connected,
        connected_after=connected - total,
        reestimated_batchnorm=options.reestimate_batchnorm,
    ).as_json()
    save_network(folder / WEIGHTS, model, spec=spec)
    write_json(folder / METRICS, metrics)
    tracker.summary(metrics)
    tracker.artifact(
        f"pruned-{folder.name}",
        type="model",
        files=[folder / WEIGHTS],
        metadata={"removed": total},
        inputs=cell.lineage({"trained": trained}),
    )
    print(f"removed {total:,} of {connected:,} weights, alone in their vectors")
    return [WEIGHTS, METRICS]
