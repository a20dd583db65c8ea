"""Does structure make it faster? Networks with the same number of weights in every layer.

VGG11 with connections in every layer as after a training; what differs is where they are. "random":
anywhere. "vectors at 2 %": in as few vectors (all outputs of one input position) as hold them at
that density, and so on up to full vectors, the ideal of the thesis's Figure 2. "paper: l2": the
network of results/thesis/paper, with the layers that training gave it. "thin": ordinary dense
networks with fewer channels. Forms: the sparse engine; PyTorch, dense, with BatchNorm folded in;
the same without its empty vectors ("compacted": a matrix product with the inputs that are read);
onnxruntime. "step": forward and backward pass of a training. "sparseprop": inference of the random
network by SparseProp, beside the engine in a process of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.engine_forms import (
    CPU,
    IMAGE,
    SEED,
    STORAGES,
    calibrate,
    fast_storage,
    folded,
    on_engine,
    on_threads,
    ordinary,
)
from benchmarks.engine_inference import (
    TOLERANCE,
    Predict,
    onnx_missing,
    onnx_predictor,
    repeated,
    times_per_reading,
)
from benchmarks.engine_sparseprop import sparseprop_inference
from benchmarks.harness import Row, judged, measure
from benchmarks.structure_figure import ACCURACY, RANDOM, cost_plot
from benchmarks.workload import dense_network, training_batches
from rewire.engine import Inference
from rewire.engine.library import instruction_set, unavailable
from rewire.engine.network import use_engine
from rewire.models.artifact import load_network
from rewire.models.sparse import SparseNetwork
from rewire.rng import generator
from rewire.structure.report import structure_report
from rewire.tools.published_cell import read_cell

DEVICES = ("cpu",)
ROOT = Path(__file__).parents[1]
PAPER = "results/thesis/paper"
CELLS = [f"{PAPER}/cells/natural-s0.99-*", "results/structure/cells/natural-s0.99-*"]
THIN = f"{PAPER}/cells/natural-s0-dense-*"
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {
        "width": 1.0,
        "sparsity": 0.99,
        "densities": [0.02, 0.05, 0.25, 1.0],
        "thin": [0.1, 0.15, 0.2, 0.3],
        "cells": CELLS,
        "batch_sizes": {1: 15, 16: 9, 128: 7},
        "step_batch": 128,
        "threads": 2,
    },
    "quick": {
        "width": 0.1,
        "sparsity": 0.95,
        "densities": [0.25, 1.0],
        "thin": [0.05],
        "cells": [],
        "batch_sizes": {1: 2, 16: 2},
        "step_batch": 16,
        "threads": 1,
    },
}
TARGETS: dict[str, dict[str, float]] = {
    "best_structure_batch1": {"at_least": 1.5},
    "best_structure_batch16": {"at_least": 1.5},
    "best_structure_batch128": {"at_least": 1.5},
    "best_against_dense_batch1": {"at_least": 20},
    "best_against_dense_batch128": {"at_least": 10},
}
FULL = "vectors at 100 %"


@dataclass(frozen=True)
class Network:
    """One of the networks that are compared.

    Attributes:
        name: where its weights are.
        model: on the engine, in evaluation mode.
        width: of the VGG11.
        accuracy: on CIFAR-10's test images, in percent; None if it was not trained to the end.
    """

    name: str
    model: SparseNetwork
    width: float
    accuracy: float | None = None

    def columns(self) -> Row:
        """How many weights, how they are structured, and how good they are."""
        weights = {name: weight.numpy() for name, weight in self.model.weights().items()}
        report = structure_report(weights)
        columns = {"weights": report.connected, "zero vectors %": report.zero_vectors.percent}
        return columns | ({ACCURACY: self.accuracy} if self.accuracy is not None else {})


def run(
    *,
    device: torch.device,
    cache: Path,
    width: float,
    sparsity: float,
    densities: list[float],
    thin: list[float],
    cells: list[str],
    batch_sizes: dict[int, int],
    step_batch: int,
    threads: int,
) -> list[Row]:
    if instruction_set() is None:
        return [{"part": "ratio", "note": f"not measured: {unavailable()}"}]
    with on_threads(threads):
        networks = list(synthetic(width=width, sparsity=sparsity, densities=densities))
        networks += trained(cells)
        for network in networks:
            calibrate_once(network.model)
        rows = inference_rows(networks, thin=thin, batch_sizes=batch_sizes)
        rows += step_rows(networks, batch_size=step_batch)
        for size, rounds in batch_sizes.items():
            rows += sparseprop_inference(
                sparsity=sparsity, width=width, batch_size=size, rounds=rounds
            )
    return [*rows, *ratio_rows(rows, batch_sizes)]


def synthetic(*, width: float, sparsity: float, densities: list[float]) -> Iterator[Network]:
    """As many connections in every layer as after a training, at random places and in vectors."""
    yield Network(RANDOM, on_engine(width=width, sparsity=sparsity), width)
    for density in densities:
        model = on_engine(width=width, sparsity=sparsity)
        model.set_weights({n: in_vectors(w, density) for n, w in model.weights().items()})
        yield Network(f"vectors at {100 * density:g} %", model, width)


def in_vectors(weight: Tensor, density: float) -> Tensor:
    """The same values in as few vectors as hold them at a density, at random places there.

    Args:
        weight: (out, …); returned as it is if it is denser than that as a whole.
    """
    random = generator(SEED, "places", weight.numel())
    flat = weight.reshape(len(weight), -1)
    values = flat[flat != 0]
    open_vectors = math.ceil(len(values) / (density * len(flat)))
    if open_vectors >= flat.shape[1]:
        return weight
    vectors = torch.randperm(flat.shape[1], generator=random)[:open_vectors]
    places = torch.randperm(len(flat) * open_vectors, generator=random)[: len(values)]
    result = torch.zeros_like(flat)
    result[places // open_vectors, vectors[places % open_vectors]] = values
    return result.view_as(weight)


def trained(cells: list[str]) -> Iterator[Network]:
    """The networks of results/ whose folders match these patterns."""
    for path in sorted(file for cell in cells for file in ROOT.glob(f"{cell}/weights.safetensors")):
        model, spec = load_network(path)
        cell = path.parent.name.removeprefix("natural-s0.99-").replace("-seed0", "")
        whole = path.is_relative_to(ROOT / PAPER)
        yield Network(
            f"{path.parents[2].name}: {cell}",
            use_engine(model).eval(),
            spec["width"],
            accuracy_of(path.parent) if whole else None,
        )


def accuracy_of(cell: Path) -> float:
    """Test accuracy of a published cell, in percent."""
    return read_cell(cell, note="").trained.clean.accuracy


def thin_accuracies() -> dict[float, float]:
    """Width → test accuracy of the published dense networks of 100 epochs."""
    cells = [read_cell(path, note="") for path in ROOT.glob(THIN)]
    return {cell.config["model"]["width"]: cell.trained.clean.accuracy for cell in cells}


def calibrate_once(model: SparseNetwork) -> None:
    """Give a network that was not trained the statistics of some images."""
    if model.training:
        calibrate(model, next(iter(training_batches(128, CPU)))[0])


def inference_rows(
    networks: list[Network], *, thin: list[float], batch_sizes: dict[int, int]
) -> list[Row]:
    """One row per network, form and number of images, all of one number in turns."""
    forms: dict[tuple[str, str], tuple[Predict, Row]] = {}
    reason = onnx_missing()
    with torch.no_grad():
        for network in networks:
            dense = folded(ordinary(network.model, width=network.width))
            columns = network.columns()
            forms[network.name, "engine"] = Inference(network.model), columns
            forms[network.name, "compacted"] = compacted(dense), columns
            if network.name == RANDOM:  # a dense form takes the same time for all of them
                forms[network.name, "dense"] = partial(channels_last, dense), columns
                if reason is None:
                    forms[network.name, "onnxruntime"] = onnx_predictor(dense), columns
        known = thin_accuracies()
        for width in thin:
            dense = dense_network(width=width, device=CPU)
            calibrate(dense, next(iter(training_batches(128, CPU)))[0])
            columns: Row = {"weights": sum(p.numel() for p in dense.parameters() if p.ndim > 1)}
            columns |= {ACCURACY: known[width]} if width in known else {}
            forms[f"thin {width:g}", "dense"] = partial(channels_last, folded(dense)), columns
        rows: list[Row] = [] if reason is None else [{"part": "inference", "note": reason}]
        for size, rounds in batch_sizes.items():
            x = torch.rand(size, *IMAGE, generator=generator(SEED, "bench", size))
            per = times_per_reading(size)
            tasks = {key: partial(repeated, f, x, per) for key, (f, _) in forms.items()}
            timings = measure(tasks, rounds=rounds, warm_up=2)
            milliseconds = {key: 1e3 * t.median / per for key, t in timings.items()}
            for (name, form), (predict, columns) in forms.items():
                row: Row = {"part": "inference", "batch": size, "network": name, "form": form}
                row |= columns | {"ms": milliseconds[name, form], "rounds": rounds}
                row["times the dense network"] = milliseconds[RANDOM, "dense"] / row["ms"]
                if (name, "compacted") in forms:
                    expected = forms[name, "compacted"][0](x)
                    error = (predict(x) - expected).abs().max()
                    row["equal logits"] = bool(error <= TOLERANCE * expected.abs().max())
                rows.append(row)
    return rows


def channels_last(dense: nn.Module, x: Tensor) -> Tensor:
    return dense(x.contiguous(memory_format=torch.channels_last))


def compacted(dense: nn.Module) -> nn.Module:
    """A `folded` network whose convolutions read the inputs of living vectors alone."""
    parts = [Compacted(m) if isinstance(m, nn.Conv2d) else m for m in dense]
    return nn.Sequential(*parts)


class Compacted(nn.Module):
    """A 3×3 convolution of padding 1 as a matrix product with the inputs that are read."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
        weight = conv.weight.detach()
        living = (weight != 0).any(0)  # (in, kernel row, kernel column)
        self.channel, self.row, self.column = living.nonzero(as_tuple=True)
        self.weight = weight[:, living].contiguous()
        assert conv.bias is not None
        self.bias = conv.bias.detach()[:, None]

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        padded = F.pad(x, (1, 1, 1, 1)).transpose(0, 1).contiguous()  # (in, N, H + 2, W + 2)
        windows = padded.as_strided(
            (channels, 3, 3, count, height, width),
            (padded.stride(0), padded.stride(2), 1, *padded.stride()[1:]),
        )
        inputs = windows[self.channel, self.row, self.column].flatten(1)
        out = torch.addmm(self.bias, self.weight, inputs)
        return out.view(-1, count, height, width).transpose(0, 1)


def step_rows(networks: list[Network], *, batch_size: int) -> list[Row]:
    """Forward and backward pass of every network on the engine, in turns."""
    storage = fast_storage()
    x, y = next(iter(training_batches(batch_size, CPU)))

    def step(model: SparseNetwork) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=STORAGES[storage] == "bf16-mixed"):
            loss = F.cross_entropy(model(x), y)
        loss.backward()

    tasks = {network.name: partial(step, network.model.train()) for network in networks}
    timings = measure(tasks, rounds=5, warm_up=1)
    return [
        {"part": "step", "batch": batch_size, "storage": storage, "network": network.name}
        | network.columns()
        | timings[network.name].columns()
        | {"times random": timings[RANDOM].median / timings[network.name].median}
        for network in networks
    ]


def ratio_rows(rows: list[Row], batch_sizes: dict[int, int]) -> list[Row]:
    """The numbers that have a name: full vectors, the best structure that there is."""
    times = {
        (row["batch"], row["network"], row["form"]): row["ms"]
        for row in rows
        if row["part"] == "inference" and "ms" in row
    }
    found = []
    for size in batch_sizes:
        best = times[size, FULL, "engine"]
        for name, other in (
            (f"best_structure_batch{size}", times[size, RANDOM, "engine"]),
            (f"best_against_dense_batch{size}", times[size, RANDOM, "dense"]),
        ):
            targets = TARGETS.get(name, {})
            found.append(
                {"part": "ratio", "ratio": name} | judged("value", other / best, **targets)
            )
    return found


def picture(rows: list[Row], path: Path) -> None:
    """Accuracy against milliseconds, where a network has both."""
    timed = [row for row in rows if row["part"] == "inference" and "ms" in row]
    if any(ACCURACY in row for row in timed):
        cost_plot(timed, path=path)


def ratios(rows: list[Row]) -> dict[str, float]:
    """What OUTPUT/structure.json has under that name."""
    return {row["ratio"]: row["value"] for row in rows if "ratio" in row}
