"""Stage 2: prune a trained network (thesis, section 4), and train what is left if that is asked."""

from __future__ import annotations

import numpy as np
import torch
from omegaconf import DictConfig

from rewire.data.batches import EvalBatches
from rewire.data.load import load_images
from rewire.engine.choice import set_engine
from rewire.files import write_json
from rewire.models.artifact import description, save_network
from rewire.models.plain import open_network
from rewire.models.sparse import SparseNetwork
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import METRICS, WEIGHTS
from rewire.pipeline.run_cell import run_cell
from rewire.pruning.batchnorm import reestimate_batchnorm
from rewire.pruning.layers import select_layers
from rewire.registry import PRUNINGS
from rewire.thesis.configuration import Configuration
from rewire.thesis.metrics import Pruning


def run(config: DictConfig, overrides: list[str]) -> None:
    """Prune the cell that `config` names; reads what stage `train` left."""
    run_cell(Cell.of("prune", config, overrides), prune)


def prune(cell: Cell[Configuration]) -> list[str]:
    options, trained = cell.config.prune, cell.networks()["trained"]
    folder, tracker = cell.folder, cell.tracker
    spec = description(cell.config.model)
    model = open_network(trained, spec=spec)
    weights = {name: weight.numpy() for name, weight in model.weights().items()}
    chosen = {name: weights[name] for name in select_layers(list(weights), options.layers)}
    pruned = weights | PRUNINGS.build(options.name, **options.options)(chosen)
    removed = {name: count((w != 0) & (pruned[name] == 0)) for name, w in weights.items()}
    model.set_weights({name: torch.from_numpy(weight) for name, weight in pruned.items()})
    if options.finetune.epochs:
        model = finetuned(cell, model)
    if options.reestimate_batchnorm:
        training, _, _ = load_images(cell.config.data)
        set_engine(cell.config.trainer.engine, model, torch.device("cpu"))
        reestimate_batchnorm(model, EvalBatches(training, batch_size=500))
    total = sum(removed.values())
    connected = sum(map(count, weights.values()))
    metrics = Pruning(
        removed=removed,
        removed_total=total,
        connected_before=connected,
        connected_after=sum(map(count, pruned.values())),
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
    print(f"removed {total:,} of {connected:,} weights")
    return [WEIGHTS, METRICS]


def count(entries: np.ndarray) -> int:
    """Entries that are not zero."""
    return int(np.count_nonzero(entries))


def finetuned(cell: Cell[Configuration], model: SparseNetwork) -> SparseNetwork:
    """The pruned network after training without rewiring."""
    # Not above: it imports Lightning.
    from rewire.training.finetune import finetune

    trained = finetune(
        model,
        cell.config,
        cell.config.prune.finetune,
        state_of=cell.state_of() | {"inputs": dict(cell.inputs)},
        checkpoints=cell.kept,
        tracker=cell.tracker,
        report=lambda line: print(line, flush=True),
    )
    print(f"clean test accuracy {trained.metrics.clean.accuracy:.2f} %")
    return trained.model
