"""The evaluation attack, PGD with restarts, worst case per image, against the libraries.

A VGG11 trained with TRADES by stage `train`; it is kept in the cache. foolbox and torchattacks run
once per restart over all images, as they are meant to, and are judged as ours is; all attack the
same images in batches of the same size, in float32, with the weights computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cells import trained_cell
from benchmarks.foolbox_pgd import foolbox_pgd
from benchmarks.harness import Row, judged, measure
from rewire.attacks.adapters.torchattacks_adapter import torchattacks_pgd
from rewire.attacks.judge import judge
from rewire.attacks.pgd import PGD
from rewire.data.embedded import load_embedded
from rewire.data.images import as_float
from rewire.data.split import first_balanced
from rewire.evaluation.accuracy import percent
from rewire.models.artifact import load_network

DEVICES = ("cpu", "cuda")
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {
        "network": ["objective=trades", "sparsity=0.95"],  # quick profile
        "images": {"cpu": 200, "cuda": 1000},
        "steps": 50,
        "restarts": 10,
        "batch_size": {"cpu": 100, "cuda": 1000},
        "rounds": 3,
    },
    "quick": {
        "network": [
            "objective=trades",
            "sparsity=0.9",
            "model.width=0.1",
            "data.train_size=320",
            "data.test_size=20",
            "data.validation_size=10",
        ],
        "images": {"cpu": 20, "cuda": 20},
        "steps": 5,
        "restarts": 2,
        "batch_size": {"cpu": 10, "cuda": 10},
        "rounds": 1,
    },
}
PEERS: dict[str, Callable[..., Tensor]] = {
    "foolbox": foolbox_pgd,
    "torchattacks": torchattacks_pgd,
}
TIMES, POINTS = 3, 0.1  # targets: as fast as this many foolbox, robust accuracy as equal as this


def run(
    *,
    device: torch.device,
    cache: Path,
    network: list[str],
    images: dict[str, int],
    steps: int,
    restarts: int,
    batch_size: dict[str, int],
    rounds: int,
) -> list[Row]:
    model, _ = load_network(trained_cell(network, cache=cache) / "weights.safetensors")
    model.to(device)
    data = first_balanced(load_embedded("test"), images[device.type]).to(device)
    x, y = as_float(data.images), data.labels
    attack = PGD(steps=steps, restarts=restarts, batch_size=batch_size[device.type])
    correct: dict[str, Tensor] = {}
    done = {}

    def ours() -> None:
        result = attack.attack(model, x, y, indices=data.indices)
        correct["ours"] = result.correct
        done["clean"] = percent(result.clean_correct.cpu())

    def peer(name: str) -> None:
        correct[name] = worst_case(PEERS[name], model, x, y, attack)

    tasks = {"ours": ours} | {name: lambda name=name: peer(name) for name in PEERS}
    timings = measure(tasks, rounds=rounds, device=device)
    robust = {name: percent(found.cpu()) for name, found in correct.items()}
    rows = []
    for name, timing in timings.items():
        row: Row = {
            "attack": f"PGD-{steps}x{restarts}",
            "by": name,
            "images": len(x),
            "seconds": timing.median,
            "iqr s": timing.high - timing.low,
            "clean %": done["clean"],
            "robust %": robust[name],
        }
        if name != "ours":
            bound = {"at_least": TIMES} if name == "foolbox" else {}
            row |= judged("times ours", timing.median / timings["ours"].median, **bound)
            row["other verdicts"] = int((correct[name] != correct["ours"]).sum())
            row["equal robust accuracy"] = abs(robust[name] - robust["ours"]) <= POINTS
        rows.append(row)
    return rows


def worst_case(
    run_once: Callable[..., Tensor], model: nn.Module, x: Tensor, y: Tensor, attack: PGD
) -> Tensor:
    """Which images survive all restarts of a library's attack: bool (N,)."""
    correct = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for restart in range(attack.restarts):
        for start in range(0, len(x), attack.batch_size):
            part = slice(start, start + attack.batch_size)
            x_adv = run_once(
                model,
                x[part],
                y[part],
                epsilon=attack.epsilon,
                step_size=attack.step,
                steps=attack.steps,
                seed=1000 * restart + start,
            )
            correct[part] &= judge(
                model,
                x_adv,
                x[part],
                y[part],
                epsilon=attack.epsilon,
                batch_size=attack.batch_size,
            )
    return correct
