"""The connectivity step as networks grow, with the number of re-connections fixed.

Synthetic networks of equal convolutions with random connections; before every step as many of them
die as are re-connected. "search" finds the nearest unconnected entries of that many sources: its
cost must not grow with the network. "count" lists the connected entries, from nothing or from
those that are known to have stayed, as a step does: its cost must grow with the weights, at a
bandwidth near the ceiling, the better one of a plain sum and a copy of the same memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Row, measure
from rewire.connectivity.nearest import Search, nearest_unconnected
from rewire.connectivity.sampling import add_noise, connected_entries, sample_connectivity
from rewire.models.layout import SparseLayer, lay_out
from rewire.registry import STRATEGIES
from rewire.rng import generator

DEVICES = ("cpu", "cuda")
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {
        "sizes": [10**6, 10**7, 10**8, 10**9],
        "sparsity": 0.99,
        "changes": 1000,
        "rounds": 5,
    },
    "quick": {"sizes": [10**5, 10**6], "sparsity": 0.99, "changes": 100, "rounds": 2},
}
LAYERS = 8
CEILINGS = ("sum of θ", "copy of θ")
CGROUP = "/sys/fs/cgroup/memory."
BYTES_PER_WEIGHT = 10  # θ, its copy, masks and indices, at their peak


def run(
    *,
    device: torch.device,
    cache: Path,
    sizes: list[int],
    sparsity: float,
    changes: int,
    rounds: int,
) -> list[Row]:
    rows = []
    for size in sizes:
        free, needed = free_memory(device), BYTES_PER_WEIGHT * size
        if free < needed:
            note = f"skipped: {free / 1e9:.1f} GB of memory free, {needed / 1e9:.1f} GB needed"
            rows.append({"weights": size, "note": note})
            continue
        rows += connectivity_of(
            size, sparsity=sparsity, changes=changes, rounds=rounds, device=device
        )
    return rows


def connectivity_of(
    size: int, *, sparsity: float, changes: int, rounds: int, device: torch.device
) -> list[Row]:
    """Rows of one network of about `size` weights: search, count, one step per strategy."""
    random = generator(0, "bench scale", size, device=device)
    layers = synthetic(size)
    total = layers[-1].span.stop
    theta = torch.zeros(total, device=device)
    places = torch.randint(
        total, (math.ceil((1 - sparsity) * total),), generator=random, device=device
    )
    theta[places] = torch.rand(len(places), generator=random, device=device) + 0.1
    del places
    connected = connected_entries(theta)
    budget = len(connected)
    chosen = torch.randperm(budget, generator=random, device=device)[:changes]
    sources = connected[chosen]

    def search() -> Tensor:
        return nearest_unconnected(sources, theta, layers, search=Search(), generator=random)

    def kill() -> None:
        dead = torch.randint(budget, (changes,), generator=random, device=device)
        theta[connected[dead]] = -1e-9

    def step(strategy: str) -> None:
        nonlocal connected
        known = add_noise(theta, connected, lr=0.1, generator=random)
        connected = sample_connectivity(
            theta,
            layers,
            budget=budget,
            strategy=STRATEGIES[strategy],
            generator=random,
            connected=connected_entries(theta, alive=known),
        ).connected

    tasks: dict[str, Callable[[], Any]] = {
        "search": search,
        "count": lambda: connected_entries(theta),
        "count beside known": lambda: connected_entries(theta, alive=connected),
        CEILINGS[0]: theta.sum,
        CEILINGS[1]: theta.clone,
    }
    for strategy in STRATEGIES:
        tasks[f"kill before {strategy}"] = kill
        tasks[f"step {strategy}"] = lambda strategy=strategy: step(strategy)
    timings = measure(tasks, rounds=rounds, warm_up=1, device=device)
    memory = {}
    for strategy in STRATEGIES:
        kill()
        memory[f"step {strategy}"] = extra_memory(tasks[f"step {strategy}"], device)
    assert len(connected) == budget

    # Passes over θ's memory; what else counting writes and reads is not its due.
    read = {"count": 1, "count beside known": 1, **dict(zip(CEILINGS, (1, 2), strict=True))}
    best = max(read[name] * 4 * total / timings[name].median for name in CEILINGS)
    rows = []
    for name, timing in timings.items():
        if name.startswith("kill"):
            continue
        row: Row = {"weights": total, "what": name, "changes": changes, **timing.columns()}
        if name in read:
            rate = read[name] * 4 * total / timing.median
            row |= {"GB/s": rate / 1e9, "% of ceiling": 100 * rate / best}
        if memory.get(name) is not None:
            row |= {"MB of θ": 4 * total / 1e6, "MB beside it": memory[name] / 1e6}
        rows.append(row)
    return rows


def synthetic(size: int) -> tuple[SparseLayer, ...]:
    """Equal convolutions with 3×3 kernels and about `size` weights together."""
    width = max(1, round(math.sqrt(size / LAYERS / 9)))
    return lay_out((f"conv{n + 1}", (width, 3, 3, width)) for n in range(LAYERS))


def free_memory(device: torch.device) -> float:
    """Bytes that can still be used, as far as the system tells; also the limit of a container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info()[0]
    found = [math.inf]
    for line in read_lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found.append(1024 * int(line.split()[1]))
    limits = [
        *read_lines("/sys/fs/cgroup/memory.max"),
        *read_lines("/sys/fs/cgroup/memory.current"),
    ]
    if len(limits) == 2 and limits[0].isdigit():
        found.append(int(limits[0]) - int(limits[1]))
    return min(found)


def extra_memory(task: Callable[[], Any], device: torch.device) -> int | None:
    """Peak bytes that `task` takes beside what was held before; None where it cannot be told."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        task()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    try:
        # Linux: the peak of this process starts anew from here.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    before = resident("VmRSS")
    task()
    return max(0, resident("VmHWM") - before)


def resident(field: str) -> int:
    """Bytes of this process that `field` of its status names."""
    for line in read_lines(f"/proc/{os.getpid()}/status"):
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {field}")


def read_lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
