"""The evaluation attack on the sparse engine and dense, where no image leaves early.

The ball is so small that nobody is fooled, and the labels are the network's own answers: every
image takes all steps of all restarts, the attack's whole work. A round is one of the ten restarts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from rewire.attacks.mode import attack_mode
from rewire.attacks.pgd import PGD
from rewire.bench.engine_forms import CPU, calibrate, on_engine
from rewire.bench.engine_steps import Shifts
from rewire.bench.harness import Row
from rewire.bench.workload import training_batches

RADIUS = 1e-9


def attack_rows(
    *, sparsity: float, width: float, images: int, steps: int, restarts: int, dense_rounds: int
) -> list[Row]:
    """Seconds of a restart on the engine, and of the same network as dense products."""
    model = on_engine(width=width, sparsity=sparsity, objective="trades")
    x = next(iter(training_batches(max(images, 128), CPU)))[0]
    calibrate(model, x)
    x = x[:images]
    with torch.no_grad(), attack_mode(model):
        y = model(x).argmax(1)
    attack = PGD(epsilon=RADIUS, steps=steps, restarts=1)
    done: dict[str, int] = {"sparse float32": 0, "dense float32": 0}
    found: dict[tuple[str, int], Any] = {}

    def restart(name: str) -> None:
        seed = done[name]
        done[name] += 1
        found[name, seed] = replace(attack, seed=seed).attack(
            model, x, y, indices=torch.arange(images)
        )

    def dense() -> None:
        with model.by_modules():
            restart("dense float32")

    tasks = {"sparse float32": lambda: restart("sparse float32"), "dense float32": dense}
    every = {"dense float32": restarts // dense_rounds}
    timings = Shifts(tasks, every=every, rounds=restarts, warm_up=0).run()
    rows = []
    for name, timing in timings.items():
        survived = [bool(result.correct.all()) for key, result in found.items() if key[0] == name]
        row: Row = {
            "part": "attack",
            "attack": f"PGD-{steps}x{restarts}",
            "sparsity": sparsity,
            "by": name,
            "images": images,
            "seconds a restart": timing.median,
            "restarts timed": timing.runs,
            "nobody fooled": all(survived),
        }
        if name.startswith("sparse"):
            times = timings["dense float32"].median / timing.median
            row |= {"against": "dense float32", "times faster": times}
        rows.append(row)
    return rows
