"""The whole training step, natural and TRADES: in Lightning, in a bare loop, of a dense network.

VGG11 on embedded CIFAR-10 images. A step is batch with augmentation, loss, gradient, update and,
for a sparse network, the connectivity step. All loops take their turns inside Lightning's: its
batches are withheld while the others step. "equal weights": after all steps the bare loop has
exactly the weights that Lightning has, so both did the same work (on a GPU the order of sums may
differ).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Row, Stopwatch, Task, Timing, judged
from benchmarks.workload import (
    BareLoop,
    classifier,
    dense_network,
    endless,
    rewiring,
    sparse_network,
    training_batches,
)
from rewire.data.batches import TrainBatches
from rewire.models.sparse import SparseNetwork
from rewire.registry import OBJECTIVES
from rewire.tracking import NullTracker
from rewire.training.device import choose_precision
from rewire.training.history import History
from rewire.training.lightning import fit

DEVICES = ("cpu", "cuda")
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {
        "width": 1.0,
        "batch_size": 128,
        "sparsity": 0.99,
        "strategy": "l2",
        "rounds": {"natural": 41, "trades": 9},
        "warm_up": {"natural": 5, "trades": 2},
        "block": {"cpu": 1, "cuda": 20},  # steps in a row: a GPU is not waited for every step
    },
    "quick": {
        "width": 0.1,
        "batch_size": 32,
        "sparsity": 0.95,
        "strategy": "l2",
        "rounds": {"natural": 2, "trades": 1},
        "warm_up": {"natural": 1, "trades": 1},
        "block": {"cpu": 1, "cuda": 2},
    },
}
LIGHTNING, BARE, FIXED, DENSE = (
    "ours in Lightning",
    "ours, bare loop",
    "ours, bare loop, fixed connectivity",
    "dense network, bare loop",
)
SECONDS, TIMES_NATURAL, TIMES_BARE, TIMES_DENSE = 0.36, 9.5, 1.03, 1.10  # targets, at most


class Turns:
    """Training batches for Lightning; between blocks of its steps other loops make theirs.

    Its length is that of a longer training, so that the learning rate stays what it is.
    """

    def __init__(
        self,
        batches: TrainBatches,
        others: Mapping[str, Task],
        watch: Stopwatch,
        *,
        rounds: int,
        block: int,
        length: int,
    ) -> None:
        self.batches, self.others, self.watch = batches, others, watch
        self.rounds, self.block, self.length = rounds, block, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = endless(self.batches)
        for _ in range(self.rounds):
            with self.watch.time(LIGHTNING):
                for _ in range(self.block):
                    yield next(batches)
            for name, step in self.others.items():
                with self.watch.time(name):
                    for _ in range(self.block):
                        step()


def run(
    *,
    device: torch.device,
    cache: Path,
    width: float,
    batch_size: int,
    sparsity: float,
    strategy: str,
    rounds: dict[str, int],
    warm_up: dict[str, int],
    block: dict[str, int],
) -> list[Row]:
    rows: list[Row] = []
    natural: Timing | None = None
    for objective in rounds:
        timings, equal = in_turns(
            objective,
            device=device,
            width=width,
            batch_size=batch_size,
            sparsity=sparsity,
            strategy=strategy,
            rounds=rounds[objective],
            warm_up=warm_up[objective],
            block=block[device.type],
        )
        rows += as_rows(objective, timings, natural, equal)
        natural = natural or timings[LIGHTNING]
    return rows


def in_turns(
    objective: str,
    *,
    device: torch.device,
    width: float,
    batch_size: int,
    sparsity: float,
    strategy: str,
    rounds: int,
    warm_up: int,
    block: int,
) -> tuple[dict[str, Timing], bool]:
    """Seconds of a step by loop, and whether Lightning and the bare loop made the same weights."""
    length = 10 * (warm_up + rounds) * block
    precision = choose_precision("auto", device)
    common = {
        "objective": objective,
        "precision": precision,
        "device": device,
        "batch_size": batch_size,
        "total_steps": length,
    }

    def sparse() -> SparseNetwork:
        return sparse_network(width=width, sparsity=sparsity, device=device)

    loops = {BARE: BareLoop(sparse(), **common, strategy=strategy, sparsity=sparsity)}
    if objective == "natural":
        loops[FIXED] = BareLoop(sparse(), **common)
    loops[DENSE] = BareLoop(dense_network(width=width, device=device), **common)
    watch = Stopwatch(device)
    turns = Turns(
        training_batches(batch_size, device),
        {name: loop.step for name, loop in loops.items()},
        watch,
        rounds=warm_up + rounds,
        block=block,
        length=length,
    )
    model = sparse()
    train_in_lightning(
        model,
        turns,
        objective=objective,
        strategy=strategy,
        sparsity=sparsity,
        device=device,
        precision=precision,
    )
    equal = torch.equal(model.theta.to(device), loops[BARE].model.theta)
    return watch.timings(warm_up=warm_up, per=block), equal


def train_in_lightning(
    model: SparseNetwork,
    batches: Turns,
    *,
    objective: str,
    strategy: str,
    sparsity: float,
    device: torch.device,
    precision: str,
) -> None:
    """What `rewire.training.runner.train` does, on these batches and without a validation."""
    module = classifier(model, OBJECTIVES[objective], replayed=device.type == "cuda")
    callback = rewiring(model, strategy=strategy, sparsity=sparsity)
    history = History(callback, tracker=NullTracker(), log_every=50, report=lambda line: None)
    with tempfile.TemporaryDirectory() as checkpoints:
        fit(
            module,
            batches,
            callbacks=[callback, history],
            device=device,
            precision=precision,
            checkpoints=Path(checkpoints),
            state_of={},
            max_epochs=1,
        )


def as_rows(
    objective: str, timings: dict[str, Timing], natural: Timing | None, equal: bool
) -> list[Row]:
    """One row per loop, and one per target."""
    rows: list[Row] = []

    def add(name: str, against: str | None = None, **row: Any) -> None:
        label = {"objective": objective, "step": name, **timings[name].columns()}
        rows.append(label | {"against": against} | row)

    def ratio(name: str, peer: str, target: float | None = None) -> None:
        value = timings[name].median / timings[peer].median
        add(name, peer, **judged("value", value, at_most=target))

    if natural is None:
        add(LIGHTNING, "seconds", **judged("value", timings[LIGHTNING].median, at_most=SECONDS))
    else:
        value = timings[LIGHTNING].median / natural.median
        add(LIGHTNING, "natural step", **judged("value", value, at_most=TIMES_NATURAL))
    ratio(LIGHTNING, BARE, TIMES_BARE)
    rows[-1]["equal weights"] = equal
    ratio(BARE, DENSE, TIMES_DENSE)
    if FIXED in timings:
        ratio(FIXED, DENSE)
    add(DENSE)
    return rows
