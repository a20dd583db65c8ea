"""The connectivity step of every strategy beside the natural training step that it follows.

Full-size VGG11, batch 128, random images: training steps and connectivity steps take turns, so
whatever else the machine does hits both. Medians over the steps after a warm-up.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from rewire.connectivity.sampling import add_noise, connected_entries, sample_connectivity
from rewire.connectivity.strategies import STRATEGIES, StrategyOptions
from rewire.files import write_json
from rewire.models.factory import build_model
from rewire.models.layout import connection_budget, total_size
from rewire.objectives import OBJECTIVES
from rewire.provenance import provenance
from rewire.reporting.summary import summary_table
from rewire.rng import generator
from rewire.training.device import choose_device, choose_precision
from rewire.training.optimiser import DecoupledSGD

BATCH = 128


def bench_connectivity(*, sparsity: float, strategy: str, steps: int, warm_up: int) -> dict:
    """Median milliseconds of the training step and of the connectivity step after it."""
    device = choose_device("auto")
    autocast = choose_precision("auto", device) == "bf16-mixed"
    model = build_model("vgg11", sparsity=sparsity, seed=0).to(device).train()
    budget = connection_budget(total_size(model.layers), sparsity)
    optimiser = DecoupledSGD(model.parameters(), lr=0.1, momentum=0.9, decay=5e-4)
    images = torch.rand(BATCH, 3, 32, 32, generator=generator(0, "bench")).to(device)
    labels = torch.randint(0, 10, (BATCH,), generator=generator(0, "labels")).to(device)
    connected = connected_entries(model.theta)
    times: dict[str, list[float]] = {"step": [], "connectivity": []}
    births = []
    for step in range(warm_up + steps):
        random = generator(0, "step", step, device=device)
        start = clock(device)
        optimiser.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast), model.materialised():
            loss, _ = OBJECTIVES["natural"](model, images, labels, generator=random)
        loss.backward()
        optimiser.step()
        middle = clock(device)
        add_noise(model.theta, connected, lr=0.1, generator=random)
        result = sample_connectivity(
            model.theta.data,
            model.layers,
            budget=budget,
            strategy=STRATEGIES[strategy],
            options=StrategyOptions(),
            generator=random,
        )
        connected = result.connected
        if step >= warm_up:
            times["step"].append(middle - start)
            times["connectivity"].append(clock(device) - middle)
            births.append(int(result.births.sum()))
    step, connectivity = (1000 * statistics.median(times[name]) for name in times)
    return {
        "sparsity": sparsity,
        "strategy": strategy,
        "births": statistics.median(births),
        "training step ms": round(step, 1),
        "connectivity step ms": round(connectivity, 2),
        "share %": round(100 * connectivity / step, 2),
    }


def clock(device: torch.device) -> float:
    """Seconds, after everything that was started on the device has ended."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rewire.bench", description=__doc__)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--warm-up", type=int, default=10)
    arguments = parser.parse_args()
    rows = [
        bench_connectivity(
            sparsity=sparsity,
            strategy=strategy,
            steps=arguments.steps,
            warm_up=arguments.warm_up,
        )
        for sparsity in (0.99, 0.95)
        for strategy in STRATEGIES
    ]
    print(summary_table(rows))
    path = "outputs/bench/connectivity.json"
    write_json(path, {"rows": rows, "machine": provenance()})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
