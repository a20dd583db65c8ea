"""The connectivity step of every strategy beside the natural training step that it follows.

VGG11 on embedded CIFAR-10 images. `training step` is batch, loss, gradient and update, without the
connectivity step, which is noise, counting and re-connections.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Row, judged, measure
from benchmarks.workload import BareLoop, sparse_network
from rewire.registry import STRATEGIES
from rewire.training.device import choose_precision

DEVICES = ("cpu", "cuda")
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {
        "width": 1.0,
        "batch_size": 128,
        "sparsities": [0.99, 0.95],
        "rounds": 15,
        "warm_up": 10,  # the first step fills the budget
    },
    "quick": {
        "width": 0.1,
        "batch_size": 32,
        "sparsities": [0.95],
        "rounds": 2,
        "warm_up": 1,
    },
}
SHARE = 5  # target: at most this many % of the training step


def run(
    *,
    device: torch.device,
    cache: Path,
    width: float,
    batch_size: int,
    sparsities: list[float],
    rounds: int,
    warm_up: int,
) -> list[Row]:
    rows = []
    for sparsity in sparsities:
        loops = {
            strategy: BareLoop(
                sparse_network(width=width, sparsity=sparsity, device=device),
                objective="natural",
                precision=choose_precision("auto", device),
                device=device,
                batch_size=batch_size,
                total_steps=10 * (rounds + warm_up),
                strategy=strategy,
                sparsity=sparsity,
            )
            for strategy in STRATEGIES
        }
        tasks = {}
        for strategy, loop in loops.items():
            tasks[f"{strategy} training"] = loop.gradient_step
            tasks[f"{strategy} connectivity"] = loop.connectivity_step
        timings = measure(tasks, rounds=rounds, warm_up=warm_up, device=device)
        for strategy, loop in loops.items():
            training = timings[f"{strategy} training"]
            connectivity = timings[f"{strategy} connectivity"]
            share = 100 * connectivity.median / training.median
            growth = torch.stack(loop.growth).diff(prepend=loop.growth[0][None] * 0).tolist()
            rows.append(
                {
                    "sparsity": sparsity,
                    "strategy": strategy,
                    "growth": statistics.median(growth[warm_up:]),
                    "training step ms": 1e3 * training.median,
                    **connectivity.columns(),
                    **judged("share %", share, at_most=SHARE),
                    "budget held": int((loop.model.theta > 0).sum()) >= loop.rewiring.budget,
                }
            )
    return rows
