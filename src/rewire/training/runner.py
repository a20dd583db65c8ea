"""One training from a plain configuration: data, model, Lightning, result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rewire.connectivity.nearest import Search
from rewire.connectivity.static import place_births
from rewire.connectivity.strategies import STRATEGIES, StrategyOptions
from rewire.data.batches import EvalBatches, TrainBatches
from rewire.data.load import load_data
from rewire.errors import InputError
from rewire.evaluation.accuracy import counted, predict_correct
from rewire.models.factory import build_model
from rewire.models.layout import connection_budget, total_size
from rewire.models.sparse import SparseNetwork
from rewire.objectives import build_objective
from rewire.tracking import Tracker
from rewire.training.compiled import CompiledNetwork, compile_mode, compiled_placement
from rewire.training.device import choose_device, choose_precision, use_threads
from rewire.training.history import History
from rewire.training.lightning import fit
from rewire.training.module import SparseClassifier
from rewire.training.optimiser import check_options
from rewire.training.rewiring import Rewiring


@dataclass(frozen=True)
class Trained:
    """Result of a training: the network after the last epoch and its numbers."""

    model: SparseNetwork
    metrics: dict[str, Any]
    history: list[dict[str, Any]]


def train(
    config: Mapping[str, Any],
    *,
    checkpoints: Path,
    tracker: Tracker,
    report: Callable[[str], None],
) -> Trained:
    """Train one network to the end, going on from the last finished epoch if there is one.

    Args:
        config: plain resolved configuration with data, model, objective, rewire, trainer,
            sparsity and seed.
        checkpoints: folder for the state to resume from; belongs to this configuration alone.
        tracker: receives curves.
        report: called with one line of text per epoch.
    """
    settings, seed = config["trainer"], config["seed"]
    device = choose_device(settings["device"])
    precision = choose_precision(settings["precision"], device)
    compiling = compile_mode(settings["compile"], device)
    use_threads(settings["threads"])
    epochs = settings["epochs"]
    if not (isinstance(epochs, int) and epochs >= 1):
        raise InputError(f"trainer.epochs is {epochs}. Allowed: a whole number from 1.")

    # Everything that can be wrong with the configuration is found before data are read.
    objective = dict(config["objective"])
    build_objective(**objective)
    optimiser = {key: settings[key] for key in ("lr", "momentum", "weight_decay")}
    check_options(**optimiser)
    options, strategy = strategy_of(config["rewire"])
    model = build_model(**config["model"], sparsity=config["sparsity"], seed=seed)
    budget = connection_budget(total_size(model.layers), config["sparsity"])
    module = SparseClassifier(
        model,
        objective=objective.pop("name"),
        options=objective,
        **optimiser,
        seed=seed,
        called=CompiledNetwork(model, mode=compiling) if compiling else None,
    )
    data = dict(config["data"])
    augmentation = data.pop("augmentation")
    training, validation, test = load_data(**data)
    batches = TrainBatches(
        training,
        batch_size=settings["batch_size"],
        seed=seed,
        augmentation=augmentation,
        device=device,
        channels_last=True,
    )
    place = compiled_placement(mode=compiling) if compiling else place_births
    rewiring = Rewiring(
        strategy=strategy,
        options=options,
        budget=budget,
        seed=seed,
        place=place,
        check=bool(settings["check"]),
    )
    history = History(rewiring, tracker=tracker, log_every=settings["log_every"], report=report)
    held_out = EvalBatches(validation, batch_size=500, device=device) if len(validation) else None
    trainer = fit(
        module,
        batches,
        held_out=held_out,
        callbacks=[rewiring, history],
        device=device,
        precision=precision,
        checkpoints=checkpoints,
        config=config,
        max_epochs=epochs,
        every_epochs=settings["checkpoint_every"],
    )

    model.to(device).eval()
    correct = predict_correct(model, EvalBatches(test, batch_size=500, device=device))
    metrics = {
        "clean": counted(int(correct.sum()), len(correct)),
        "budget": budget,
        "connected": int((model.theta > 0).sum()),
        "births": int(torch.as_tensor(rewiring.births).sum()),
        "surplus_steps": rewiring.surplus_steps,
        "largest_surplus": rewiring.largest_surplus,
        "late": rewiring.late,
        "steps": trainer.global_step,
        "selection": "last epoch",
        "precision": precision,
    }
    return Trained(model.cpu(), metrics, history.rows)


def strategy_of(rewire: Mapping[str, Any]) -> tuple[StrategyOptions, str]:
    """Options and name of the configured rewiring strategy."""
    STRATEGIES[rewire["name"]]
    search = Search(metric=rewire["metric"], ties=rewire["ties"])
    return StrategyOptions(search=search, gamma=rewire["gamma"]), rewire["name"]
