"""All forward and backward passes of a training step on a GPU: launched, replayed, compiled.

VGG11 on embedded CIFAR-10 images, in the precision of a training. Launched from Python kernel by
kernel; recorded as a CUDA graph and replayed (`rewire.training.replayed`); compiled by
`torch.compile` before they are recorded. "away" is how far the gradient of θ is from the launched
one's, relative to its length, for an attack of one vanishing step: longer ones drift apart.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Row, measure
from benchmarks.workload import SEED, classifier, endless, sparse_network, training_batches
from rewire.registry import OBJECTIVES
from rewire.rng import generator
from rewire.training.device import choose_precision
from rewire.training.module import SparseClassifier

DEVICES = ("cuda",)
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {"width": 1.0, "batch_size": 128, "sparsity": 0.95, "rounds": 30, "warm_up": 5},
    "quick": {"width": 0.1, "batch_size": 32, "sparsity": 0.95, "rounds": 2, "warm_up": 1},
}
VANISHING = {"steps": 1, "step_size": 1e-9, "epsilon": 1e-9}
SHORT: dict[str, dict[str, Any]] = {"natural": {}, "trades": VANISHING}
WAYS: dict[str, dict[str, bool]] = {
    "launched": {},
    "replayed": {"replayed": True},
    "compiled, replayed": {"compiled": True, "replayed": True},
}


def run(
    *,
    device: torch.device,
    cache: Path,
    width: float,
    batch_size: int,
    sparsity: float,
    rounds: int,
    warm_up: int,
) -> list[Row]:
    rows: list[Row] = []
    x, y = next(endless(training_batches(batch_size, device)))
    for name, vanishing in SHORT.items():
        networks = {
            way: sparse_network(width=width, sparsity=sparsity, device=device).train()
            for way in WAYS
        }
        tasks, gradients = {}, {}
        for way, model in networks.items():
            short, whole = (
                classifier(model, objective, **WAYS[way])
                for objective in (OBJECTIVES.build(name, **vanishing), OBJECTIVES[name])
            )
            gradients[way] = passes(short, x, y)
            tasks[way] = functools.partial(passes, whole, x, y)
        timings = measure(tasks, rounds=rounds, warm_up=warm_up, device=device)
        exact = gradients["launched"]
        for way, timing in timings.items():
            rows.append(
                {
                    "objective": name,
                    "passes": way,
                    **timing.columns(),
                    "times faster": timings["launched"].median / timing.median,
                    "away": float((gradients[way] - exact).norm() / exact.norm()),
                }
            )
    return rows


def passes(module: SparseClassifier, x: Tensor, y: Tensor) -> Tensor:
    """One gradient of θ."""
    precision = choose_precision("auto", x.device)
    random = generator(SEED, "objective", device=x.device)
    reduced = precision == "bf16-mixed"
    with torch.autocast(x.device.type, torch.bfloat16, enabled=reduced, cache_enabled=False):
        loss, _ = module.loss(module.model, x, y, generator=random)
    (gradient,) = torch.autograd.grad(loss, [module.model.theta])
    return gradient
