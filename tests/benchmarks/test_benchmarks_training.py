"""The loops that are compared do the same work."""

from __future__ import annotations

import itertools

import pytest
import torch

from benchmarks import training, workload
from benchmarks.harness import Stopwatch
from benchmarks.training import BARE, DENSE, FIXED, LIGHTNING, SETTINGS, Turns, run
from benchmarks.workload import (
    BareLoop,
    dense_network,
    endless,
    sparse_network,
    training_batches,
)
from rewire.models.layout import total_size

CPU = torch.device("cpu")
SMALL = {"width": 0.2, "sparsity": 0.8, "device": CPU}


def bare_loop(**changes) -> BareLoop:
    options = {
        "objective": "natural",
        "precision": "32-true",
        "device": CPU,
        "batch_size": 32,
        "total_steps": 1000,
        "strategy": "random",
        "sparsity": SMALL["sparsity"],
    }
    return BareLoop(sparse_network(**SMALL), **options | changes)


def test_lightning_and_the_bare_loop_make_the_same_weights():
    rows = run(device=CPU, cache=None, **SETTINGS["quick"])
    equal = [row["equal weights"] for row in rows if "equal weights" in row]
    assert equal == [True, True]
    steps = {(row["objective"], row["step"]) for row in rows}
    both = itertools.product(("natural", "trades"), (LIGHTNING, BARE, DENSE))
    assert steps == {("natural", FIXED), *both}
    targets = [(row["objective"], row.get("target")) for row in rows if row.get("target")]
    assert targets == [
        ("natural", "<= 0.36"),
        ("natural", "<= 1.03"),
        ("natural", "<= 1.1"),
        ("trades", "<= 9.5"),
        ("trades", "<= 1.03"),
        ("trades", "<= 1.1"),
    ]


def test_other_work_is_noticed(monkeypatch):
    settings = SETTINGS["quick"] | {"rounds": {"natural": 1}, "warm_up": {"natural": 1}}
    monkeypatch.setattr(BareLoop, "connectivity_step", lambda self: None)
    rows = run(device=CPU, cache=None, **settings)
    assert [row["equal weights"] for row in rows if "equal weights" in row] == [False]


def test_turns_interleave_blocks_and_keep_the_learning_rate():
    order, rates = [], []
    watch = Stopwatch(CPU)

    def other() -> None:
        order.append("other")

    turns = Turns(training_batches(16, CPU), {"other": other}, watch, rounds=3, block=2, length=60)

    class Noting(workload.SparseClassifier):
        def training_step(self, batch, index):
            order.append("lightning")
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
            return super().training_step(batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workload, "SparseClassifier", Noting)
        training.train_in_lightning(
            sparse_network(**SMALL),
            turns,
            objective="natural",
            strategy="random",
            sparsity=SMALL["sparsity"],
            device=CPU,
            precision="32-true",
        )
    assert order == ["lightning", "lightning", "other", "other"] * 3
    assert rates == [0.1] * 6
    assert watch.timings(warm_up=1, per=2)[LIGHTNING].runs == 4


def test_dense_network_has_the_same_layers():
    sparse, dense = sparse_network(**SMALL), dense_network(width=SMALL["width"], device=CPU)
    weights = [p for p in dense.parameters() if p.ndim > 1]
    assert sum(weight.numel() for weight in weights) == total_size(sparse.layers)
    stored = [w.permute(0, 2, 3, 1).shape if w.ndim == 4 else w.shape for w in weights]
    assert [tuple(shape) for shape in stored] == [layer.shape for layer in sparse.layers]
    assert not hasattr(dense, "materialised")
    others = sum(p.numel() for p in sparse.parameters()) - total_size(sparse.layers)
    assert sum(p.numel() for p in dense.parameters() if p.ndim == 1) == others


def test_bare_loop_trains():
    loop = bare_loop()
    images, labels = next(endless(training_batches(256, CPU)))

    def loss() -> float:
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(loop.model(images), labels))

    before, connected = loss(), loop.model.theta > 0
    for _ in range(40):
        loop.step()
    assert loss() < before - 0.1
    assert loop.global_step == len(loop.growth) == 40
    assert int((loop.model.theta > 0).sum()) >= loop.rewiring.budget
    assert not torch.equal(loop.model.theta > 0, connected)


def test_without_a_strategy_nothing_is_rewired():
    loop = bare_loop(strategy=None)
    dormant = loop.model.theta <= 0
    loop.step()
    assert bool((loop.model.theta[dormant] <= 0).all())
    assert loop.growth == []
