"""The evaluation attack on the sparse engine and dense, where no image leaves early.

The ball is so small that nobody is fooled, and the labels are the network's own answers: every
image takes all steps of all restarts, the attack's whole work. A round is one of the restarts,
which are all alike; some of them are timed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from benchmarks.engine_forms import CPU, calibrate, on_engine
from benchmarks.engine_steps import Shifts
from benchmarks.harness import Row
from benchmarks.workload import training_batches
from rewire.attacks.mode import attack_mode
from rewire.attacks.pgd import PGD

RADIUS = 1e-9


def attack_rows(
    *,
    sparsity: float,
    width: float,
    images: int,
    steps: int,
    restarts: int,
    rounds: int,
    dense_every: int,
) -> list[Row]:
    """Seconds of the attack on the engine, and on the same network as dense products.

    Args:
        sparsity, width: of the network.
        images: in one batch.
        steps, restarts: of the attack.
        rounds: restarts that are timed on the engine; one in `dense_every` is dense, too.
    """
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
    every = {"dense float32": dense_every}
    timings = Shifts(tasks, every=every, rounds=rounds, warm_up=0).run()
    rows = []
    for name, timing in timings.items():
        survived = [bool(result.correct.all()) for key, result in found.items() if key[0] == name]
        row: Row = {
            "part": "attack",
            "attack": f"PGD-{steps}x{restarts}",
            "sparsity": sparsity,
            "by": name,
            "images": images,
            "seconds": restarts * timing.median,
            "restarts timed": timing.runs,
            "nobody fooled": all(survived),
        }
        if name.startswith("sparse"):
            times = timings["dense float32"].median / timing.median
            row |= {"against": "dense float32", "times faster": times}
        rows.append(row)
    return rows
