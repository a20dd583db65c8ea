"""Thousands of connectivity steps leave nothing behind: a night's training does not grow."""

from __future__ import annotations

import gc
import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.toys_training import SEED, network

from rewire.models.layout import total_size
from rewire.registry import STRATEGIES
from rewire.rng import generator
from rewire.training.rewiring import Rewiring

MIB = 2**20


def resident() -> int:
    """Bytes of main memory that this process holds, or where that is unknown, its peak."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@pytest.mark.parametrize(
    ("strategy", "steps"), [("random", 10_000), ("weighted", 1_500), ("vector", 1_500)]
)
def test_memory_is_flat_over_connectivity_steps(strategy, steps):
    model = network()
    module, trainer = SimpleNamespace(model=model), SimpleNamespace(global_step=0)
    budget = total_size(model.layers) // 5
    rewiring = Rewiring(strategy=STRATEGIES[strategy], budget=budget, seed=SEED)
    rewiring.on_train_start(trainer, module)
    optimiser = SimpleNamespace(param_groups=[{"lr": 0.1}])
    random, moved = generator(SEED, "test gradient"), torch.empty_like(model.theta.data)

    def run(count: int) -> tuple[int, int]:
        for _ in range(count):
            trainer.global_step += 1
            moved.normal_(0, 0.02, generator=random)
            model.theta.data.add_(moved.mul_(model.theta.data > 0))
            rewiring.on_before_optimizer_step(trainer, module, optimiser)
            rewiring.on_train_batch_end(trainer, module)
        gc.collect()
        return sys.getallocatedblocks(), resident()

    warm = max(200, steps // 10)
    blocks, bytes_before = run(warm)
    growth = int(torch.as_tensor(rewiring.growth).sum())
    more_blocks, bytes_after = run(steps - warm)
    assert int(torch.as_tensor(rewiring.growth).sum()) - growth > steps  # it did re-wire
    assert int((model.theta > 0).sum()) >= budget
    # Nothing is kept per step: one small object each would be thousands of blocks.
    assert more_blocks - blocks < steps // 3
    assert bytes_after - bytes_before < 8 * MIB
