"""One training from its typed configuration: data, model, Lightning, result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewire.data.batches import EvalBatches, TrainBatches
from rewire.data.images import ImageSet
from rewire.data.load import load_images
from rewire.engine.choice import set_engine
from rewire.evaluation.accuracy import predict_correct
from rewire.evaluation.statistics import Accuracy
from rewire.models.factory import DENSE, FIXED, REWIRED, build_model
from rewire.models.layout import connection_budget, total_size
from rewire.models.masked import MaskedNetwork
from rewire.models.sparse import SparseNetwork
from rewire.registry import OBJECTIVES, STRATEGIES
from rewire.tracking import Tracker
from rewire.training.device import choose_device, choose_precision, use_threads
from rewire.training.finite import Finite
from rewire.training.fixed_mask import FixedConnectivity
from rewire.training.history import History
from rewire.training.lightning import fit
from rewire.training.metrics import Row, Selected, SparseMetrics
from rewire.training.module import SparseClassifier
from rewire.training.rewiring import Rewiring
from rewire.training.selection import LAST, Selections
from rewire.training.settings import Training


@dataclass(frozen=True)
class Trained:
    """Result of a training: the network after the last epoch, its numbers, and other epochs'.

    `selected` has the `network_tensors` of the epochs that `trainer.selections` names.
    """

    model: SparseNetwork
    metrics: SparseMetrics
    history: list[Row]
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
    config: Training,
    *,
    state_of: Mapping[str, Any],
    checkpoints: Path,
    tracker: Tracker,
    report: Callable[[str], None],
    start: MaskedNetwork | None = None,
) -> Trained:
    """Train one network to the end, going on from the last finished epoch if there is one.

    Args:
        config: what is asked for.
        start: the network to train instead of a fresh one; `config.rewire` is fixed then.
        state_of: plain values that a state must be of to go on from it: the configuration, and as
            `code` (file → hash) the code behind it.
        checkpoints: folder for the state; belongs to this configuration alone.
        tracker: receives curves.
        report: called with one line of text per epoch.
    """
    device = choose_device(config.trainer.device)
    fitted = fit_network(
        config,
        state_of=state_of,
        checkpoints=checkpoints,
        tracker=tracker,
        report=report,
        start=start,
    )
    model, rewiring = fitted.model, fitted.rewiring
    model.to(device).eval()
    clean = count_correct(model, fitted.test, device)
    best = fitted.selections.best
    metrics = SparseMetrics(
        clean=clean,
        budget=rewiring.budget,
        connected=int((model.flat_weights() != 0).sum()),
        growth=int(torch.as_tensor(rewiring.growth).sum()),
        surplus_steps=rewiring.surplus_steps,
        largest_surplus=rewiring.largest_surplus,
        steps=fitted.steps,
        selections={LAST: Selected(epoch=config.trainer.epochs, clean=clean)}
        | {name: Selected(epoch=kept.epoch, clean=kept.clean) for name, kept in best.items()},
        precision=fitted.precision,
        engine=fitted.engine,
    )
    return Trained(model.cpu(), metrics, fitted.history.rows, fitted.selections.tensors())


def count_correct(model: SparseNetwork, images: ImageSet, device: torch.device) -> Accuracy:
    """Accuracy of a network on images, in full float32."""
    correct = predict_correct(model, EvalBatches(images, batch_size=500, device=device))
    return Accuracy.counted(int(correct.sum()), len(correct))


def fit_network(
    config: Training,
    *,
    state_of: Mapping[str, Any],
    checkpoints: Path,
    tracker: Tracker,
    report: Callable[[str], None],
    start: MaskedNetwork | None = None,
) -> Fitted:
    """The training itself; see `train`."""
    settings, seed, rewire = config.trainer, config.seed, config.rewire
    device = choose_device(settings.device)
    use_threads(settings.threads)

    # Everything that can be wrong with the configuration is found before data are read.
    fixed = rewire.name in FIXED
    model = start or build_model(
        config.model.name,
        **config.model.options,
        sparsity=config.sparsity,
        seed=seed,
        connectivity=rewire.name if fixed else REWIRED,
    )
    engine = set_engine(
        settings.engine, model, device, share=1 - config.sparsity, epochs=settings.epochs
    )
    precision = choose_precision(settings.precision, device, engine=engine)
    total = total_size(model.layers)
    budget = total if rewire.name == DENSE else connection_budget(total, config.sparsity)
    if start is not None:
        budget = len(start.connected())
    module = SparseClassifier(
        model,
        objective=OBJECTIVES.build(config.objective.name, **config.objective.options),
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        seed=seed,
        compiled=engine == "compiled",
        replayed=device.type == "cuda",
    )
    rewiring: Rewiring | FixedConnectivity
    if fixed:
        rewiring = FixedConnectivity(budget=budget)
    else:
        strategy = STRATEGIES.build(rewire.name, **rewire.options)
        rewiring = Rewiring(strategy=strategy, budget=budget, seed=seed, check=settings.check)
    training, validation, test = load_images(config.data)
    batches = TrainBatches(
        training,
        batch_size=settings.batch_size,
        seed=seed,
        augmentation=config.data.augmentation,
        device=device,
        channels_last=True,
    )
    selections = Selections(
        settings.selections, count=lambda network: count_correct(network, test, device)
    )
    history = History(
        rewiring,
        tracker=tracker,
        log_every=settings.log_every,
        report=report,
        selections=selections,
    )
    held_out = EvalBatches(validation, batch_size=500, device=device) if len(validation) else None
    # A look waits for the device, as sampling does in every step.
    finite = Finite(every=settings.log_every if fixed and device.type != "cpu" else 1)
    trainer = fit(
        module,
        batches,
        held_out=held_out,
        callbacks=[finite, rewiring, selections, history],
        device=device,
        precision=precision,
        checkpoints=checkpoints,
        state_of=state_of,
        max_epochs=settings.epochs,
        every_epochs=settings.checkpoint_every,
    )

    return Fitted(
        model, rewiring, history, selections, test, trainer.global_step, engine, precision
    )
