"""The decoupled CNN of the article: dense convolution, sparse products, and ours.

Every convolution as one sparse matrix, whole and pruned, times a batch of inputs: SciPy's
compressed sparse rows, by which ours computes, PyTorch's, and the dense convolution that the whole
matrix is equal to (no dense convolution can be pruned copy by copy). Then the whole network: ours
beside the dense CNN. All on one thread, as SciPy computes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Row, judged, measure
from rewire.attacks.mode import attack_mode
from rewire.models.dense import SIDE, DenseNetwork, build_dense
from rewire.pruning.decoupled import DecoupledNetwork, absolute, decouple, prune_entries
from rewire.pruning.decoupled_cost import BACKENDS
from rewire.rng import generator

DEVICES = ("cpu",)
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {"width": 1.0, "batch_sizes": [1, 100], "ratios": [0.5, 0.9], "rounds": 7},
    "quick": {"width": 0.1, "batch_sizes": [4], "ratios": [0.9], "rounds": 1},
}
TOLERANCE = 1e-4  # on products of numbers of order 1


def run(
    *,
    device: torch.device,
    cache: Path,
    width: float,
    batch_sizes: list[int],
    ratios: list[float],
    rounds: int,
) -> list[Row]:
    model = build_dense("cnn", seed=0, width=width).eval()
    rows = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for batch_size in batch_sizes:
            for name, conv in model.convolutions().items():
                rows += products(name, conv, ratios, batch_size=batch_size, rounds=rounds)
            rows += networks(model, ratios, batch_size=batch_size, rounds=rounds)
    finally:
        torch.set_num_threads(threads)
    return rows


@torch.no_grad()
def products(
    name: str, conv: torch.nn.Conv2d, ratios: list[float], *, batch_size: int, rounds: int
) -> list[Row]:
    """One layer's product by every backend and as a convolution, without its bias."""
    shape = (batch_size, SIDE, SIDE, conv.in_channels)
    x = torch.rand(shape, generator=generator(0, "bench", batch_size))
    image = x.permute(0, 3, 1, 2)  # the same memory, channels last
    whole = decouple(conv, SIDE, SIDE)
    pruned = {0.0: whole} | {r: prune_entries(whole, absolute(whole), r) for r in ratios}
    flat = x.flatten(1).numpy()
    tasks: dict[tuple[str, float], Any] = {
        ("dense convolution", 0.0): lambda: torch.nn.functional.conv2d(
            image, conv.weight, padding=conv.padding
        )
    }
    for ratio, matrix in pruned.items():
        for backend in BACKENDS:
            tasks[backend, ratio] = BACKENDS[backend](matrix, flat)
    timings = measure(tasks, rounds=rounds, warm_up=2)
    dense = tasks["dense convolution", 0.0]().permute(0, 2, 3, 1).flatten(1)
    rows = []
    for (by, ratio), timing in timings.items():
        row: Row = {
            "what": name,
            "batch": batch_size,
            "by": by,
            "pruned": ratio,
            "entries": pruned[ratio].nnz,
            **timing.columns(),
        }
        if by != "dense convolution":
            reference = timings["dense convolution", 0.0]
            row |= judged("times dense", timing.median / reference.median)
            if ratio == 0:
                row["equal outputs"] = close(tasks[by, ratio](), dense)
        rows.append(row)
    return rows


@torch.no_grad()
def networks(
    model: DenseNetwork, ratios: list[float], *, batch_size: int, rounds: int
) -> list[Row]:
    """The whole network's forward pass: the CNN, and ours with all convolutions pruned."""
    x = torch.rand(batch_size, 1, SIDE, SIDE, generator=generator(0, "bench", batch_size))
    linears = [*model.hidden.values(), model.output]
    whole = DecoupledNetwork.from_modules(
        list(model.convolutions().values()), linears, sparse_linears=False
    )
    chosen = {0.0: whole}
    for ratio in ratios:
        chosen[ratio] = whole.pruned(
            {
                layer.name: prune_entries(layer.weight, absolute(layer.weight), ratio)
                for layer in whole.layers
                if layer.name.startswith("conv")
            }
        )
    tasks: dict[tuple[str, float], Any] = {("dense CNN", 0.0): lambda: model(x)}
    for ratio, network in chosen.items():
        tasks["ours", ratio] = lambda network=network: network(x.numpy())
    with attack_mode(model):
        timings = measure(tasks, rounds=rounds, warm_up=2)
        dense = model(x)
    rows = []
    for (by, ratio), timing in timings.items():
        entries = sum(layer.entries for layer in chosen[ratio].layers)
        row: Row = {"what": "network", "batch": batch_size, "by": by, "pruned": ratio}
        row |= {"entries": entries, **timing.columns()}
        if by == "ours":
            row |= judged("times dense", timing.median / timings["dense CNN", 0.0].median)
            if ratio == 0:
                row["equal outputs"] = close(whole(x.numpy()), dense)
        rows.append(row)
    return rows


def close(found: Tensor | np.ndarray, expected: Tensor) -> bool:
    return bool((torch.as_tensor(found) - expected).abs().max() <= TOLERANCE)
