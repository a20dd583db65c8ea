"""One training from a plain configuration: data, model, Lightning, result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewire.data.batches import EvalBatches, TrainBatches
from rewire.data.images import ImageSet
from rewire.data.load import load_data
from rewire.engine.choice import set_engine
from rewire.evaluation.accuracy import counted, predict_correct
from rewire.models.factory import DENSE, FIXED, REWIRED, build_model
from rewire.models.layout import connection_budget, total_size
from rewire.models.sparse import SparseNetwork
from rewire.registry import OBJECTIVES, STRATEGIES
from rewire.tracking import Tracker
from rewire.training.device import choose_device, choose_precision, use_threads
from rewire.training.finite import Finite
from rewire.training.fixed_mask import FixedConnectivity
from rewire.training.history import History
from rewire.training.lightning import fit
from rewire.training.module import SparseClassifier
from rewire.training.rewiring import Rewiring
from rewire.training.selection import LAST, Selections


@dataclass(frozen=True)
class Trained:
    """Result of a training: the network after the last epoch, its numbers, and other epochs'.

    `selected` has the `network_tensors` of the epochs that `trainer.selections` names.
    """

    model: SparseNetwork
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    selected: dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Fitted:
    """A network after its last step, and the callbacks that saw all of them."""

    model: SparseNetwork
    rewiring: Rewiring | FixedConnectivity
    history: History
    selections: Selections
    test: ImageSet
    steps: int
    engine: str
    precision: str


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
            sparsity and seed; `code` (file → hash), too, where a state must be of the same code.
        checkpoints: folder for the state to resume from; belongs to this configuration alone.
        tracker: receives curves.
        report: called with one line of text per epoch.
    """
    settings = config["trainer"]
    device = choose_device(settings["device"])
    fitted = fit_network(config, checkpoints=checkpoints, tracker=tracker, report=report)
    model, rewiring = fitted.model, fitted.rewiring
    model.to(device).eval()
    clean = counted(*count_correct(model, fitted.test, device))
    best = fitted.selections.best
    metrics = {
        "clean": clean,
        "budget": rewiring.budget,
        "connected": int((model.flat_weights() != 0).sum()),
        "births": int(torch.as_tensor(rewiring.growth).sum()),
        "surplus_steps": rewiring.surplus_steps,
        "largest_surplus": rewiring.largest_surplus,
        "steps": fitted.steps,
        "selections": {LAST: {"epoch": settings["epochs"], "clean": clean}}
        | {
            name: {"epoch": kept["epoch"], "clean": counted(kept["correct"], kept["total"])}
            for name, kept in best.items()
        },
        "precision": fitted.precision,
        "engine": fitted.engine,
    }
    return Trained(model.cpu(), metrics, fitted.history.rows, fitted.selections.tensors())


def count_correct(model: SparseNetwork, images: ImageSet, device: torch.device) -> tuple[int, int]:
    """(correct, total) of a network on images, in full float32."""
    correct = predict_correct(model, EvalBatches(images, batch_size=500, device=device))
    return int(correct.sum()), len(correct)


def fit_network(
    config: Mapping[str, Any],
    *,
    checkpoints: Path,
    tracker: Tracker,
    report: Callable[[str], None],
) -> Fitted:
    """The training itself; see `train`."""
    settings, seed = config["trainer"], config["seed"]
    device = choose_device(settings["device"])
    choose_precision(settings["precision"], device)  # refuses an unknown one
    use_threads(settings["threads"])
    epochs = settings["epochs"]

    # Everything that can be wrong with the configuration is found before data are read.
    objective = OBJECTIVES.build(**config["objective"])
    optimiser = {key: settings[key] for key in ("lr", "momentum", "weight_decay")}
    fixed = config["rewire"]["name"] in FIXED
    strategy = None if fixed else STRATEGIES.build(**config["rewire"])
    connectivity = config["rewire"]["name"] if fixed else REWIRED
    model = build_model(
        **config["model"],
        sparsity=config["sparsity"],
        seed=seed,
        connectivity=connectivity,
    )
    engine = set_engine(settings.get("engine", "auto"), model, device, share=1 - config["sparsity"])
    precision = choose_precision(settings["precision"], device, engine=engine)
    total = total_size(model.layers)
    budget = total if connectivity == DENSE else connection_budget(total, config["sparsity"])
    module = SparseClassifier(
        model,
        objective=objective,
        **optimiser,
        seed=seed,
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
    if strategy is None:
        rewiring = FixedConnectivity(budget=budget)
    else:
        rewiring = Rewiring(
            strategy=strategy,
            budget=budget,
            seed=seed,
            check=bool(settings["check"]),
        )
    selections = Selections(
        settings.get("selections", ()),
        count=lambda network: count_correct(network, test, device),
    )
    history = History(
        rewiring,
        tracker=tracker,
        log_every=settings["log_every"],
        report=report,
        selections=selections,
    )
    held_out = EvalBatches(validation, batch_size=500, device=device) if len(validation) else None
    # A look waits for the device, as sampling does in every step.
    finite = Finite(every=settings["log_every"] if fixed and device.type != "cpu" else 1)
    trainer = fit(
        module,
        batches,
        held_out=held_out,
        callbacks=[finite, rewiring, selections, history],
        device=device,
        precision=precision,
        checkpoints=checkpoints,
        config=config,
        max_epochs=epochs,
        every_epochs=settings["checkpoint_every"],
    )

    return Fitted(
        model, rewiring, history, selections, test, trainer.global_step, engine, precision
    )
