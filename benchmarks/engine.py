"""The sparse CPU engine against dense PyTorch, SparseProp and onnxruntime, and its own floor.

VGG11 on embedded CIFAR-10 images, connections in every layer as after a training
(`engine_forms.MEASURED`), at random places. "step": the whole training step, on the engine in a
bare loop and in Lightning, of an ordinary dense network, and of that with the widest convolutions
as unfold and matrix product (im2col). "share": what connectivity and update take of it. "kernel":
its convolutions by layer; "floor": what a core can do. "inference", "attack", "memory", and
"sparseprop", which is optional like onnxruntime (`engine_sparseprop` says how to install it).
"ratio": how many times faster than the fastest dense form of the same run.
"""

from __future__ import annotations

import math
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.engine_attack import attack_rows
from benchmarks.engine_forms import fast_storage, on_threads
from benchmarks.engine_inference import inference_rows
from benchmarks.engine_kernels import floor_rows, kernel_rows
from benchmarks.engine_memory import memory_rows
from benchmarks.engine_sparseprop import sparseprop_rows
from benchmarks.engine_steps import case_rows, parts_rows
from benchmarks.harness import Row, judged
from benchmarks.scale import read_lines
from rewire.engine.library import instruction_set, unavailable

DEVICES = ("cpu",)
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {
        "width": 1.0,
        "batch_size": 128,
        "strategy": "random",
        "cases": [  # what differs from engine_steps.CASE
            {"sparsity": 0.99, "today": True, "slow": True},
            {"sparsity": 0.95},
            {
                "objective": "trades",
                "sparsity": 0.95,
                "lightning": ["faster"],
                "rounds": 4,
                "dense_every": 2,
                "cold": True,
            },
            {"sparsity": 0.98, "lightning": [], "rounds": 6},
            {"sparsity": 0.9, "lightning": [], "rounds": 6},
            {"sparsity": 0.8, "lightning": [], "rounds": 6},
            {"sparsity": 0.99, "threads": 1, "lightning": [], "rounds": 6},
            {"sparsity": 0.95, "threads": 1, "lightning": [], "rounds": 6},
            {"sparsity": 0.99, "width": 0.5, "lightning": []},
            {"sparsity": 0.95, "width": 0.5, "lightning": []},
            {
                "sparsity": 0.99,
                "width": 2.0,
                "lightning": [],
                "rounds": 4,
                "dense_every": 2,
                "cold": True,
            },
        ],
        "shares": {"sparsities": [0.99, 0.95], "strategies": ["random", "l2"], "rounds": 15},
        "kernels": {"sparsities": [0.99, 0.95], "rounds": 4},
        "inference": {"sparsities": [0.99, 0.95], "batch_sizes": [1, 16, 128], "rounds": 7},
        "sparseprop": {"sparsities": [0.99, 0.95], "rounds": 5},
        "attack": {
            "sparsity": 0.95,
            "images": 64,
            "steps": 50,
            "restarts": 10,
            "rounds": 4,
            "dense_every": 2,
        },
        "memory": {"sparsities": [0.99], "steps": 3},
        "threads": 2,
    },
    "quick": {
        "width": 0.1,
        "batch_size": 24,
        "strategy": "random",
        "cases": [
            {"sparsity": 0.99, "today": True, "slow": True, "rounds": 2, "dense_every": 2},
            {"sparsity": 0.95, "lightning": ["bf16"], "rounds": 1},
            {
                "objective": "trades",
                "sparsity": 0.95,
                "lightning": ["faster"],
                "rounds": 1,
                "cold": True,
            },
            {"sparsity": 0.9, "lightning": [], "rounds": 1},
            {"sparsity": 0.8, "lightning": [], "rounds": 1, "width": 0.2, "threads": 2},
        ],
        "shares": {"sparsities": [0.99], "strategies": ["random"], "rounds": 2},
        "kernels": {"sparsities": [0.95], "rounds": 1},
        "inference": {"sparsities": [0.99], "batch_sizes": [1, 128], "rounds": 2},
        "sparseprop": {"sparsities": [0.99], "rounds": 1},
        "attack": {
            "sparsity": 0.95,
            "images": 8,
            "steps": 3,
            "restarts": 2,
            "rounds": 2,
            "dense_every": 2,
        },
        "memory": {"sparsities": [0.99], "steps": 1},
        "threads": 1,
    },
}
TARGETS: dict[str, dict[str, float]] = {
    "natural_0.99": {"at_least": 5},
    "natural_0.95": {"at_least": 2.7},
    "trades_0.95": {"at_least": 2.5},
    "inference_0.99_batch1": {"at_least": 15},
    "inference_0.99_batch16": {},
    "inference_0.99_batch128": {"at_least": 7},
    "onnxruntime_0.99_batch1": {},
    "onnxruntime_0.99_batch128": {},
    "sparseprop_0.99": {"at_least": 5},
    "sparseprop_0.95": {"at_least": 5},
    "pgd50x10": {"at_least": 3},
    "connectivity_share": {"at_most": 0.2},
}
FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")


def run(
    *,
    device: torch.device,
    cache: Path,
    width: float,
    batch_size: int,
    strategy: str,
    cases: list[dict[str, Any]],
    shares: dict[str, Any],
    kernels: dict[str, Any],
    inference: dict[str, Any],
    sparseprop: dict[str, Any],
    attack: dict[str, Any],
    memory: dict[str, Any],
    threads: int,
) -> list[Row]:
    if instruction_set() is None:
        return [{"part": "ratio", "note": f"not measured: {unavailable()}"}]
    base, size = {"width": width, "threads": threads}, {"width": width, "batch_size": batch_size}
    rows: list[Row] = []
    for case in cases:
        rows += case_rows(base | case, batch_size=batch_size, strategy=strategy)
    with on_threads(threads):
        for sparsity in shares["sparsities"]:
            for name in shares["strategies"]:
                rounds = shares["rounds"]
                rows += parts_rows(sparsity=sparsity, strategy=name, rounds=rounds, **size)
        floor = floor_rows()
        rows += floor
        for sparsity in kernels["sparsities"]:
            rows += kernel_rows(floor, sparsity=sparsity, rounds=kernels["rounds"], **size)
        counts = {key: inference[key] for key in ("batch_sizes", "rounds")}
        for sparsity in inference["sparsities"]:
            rows += inference_rows(sparsity=sparsity, width=width, **counts)
        rows += attack_rows(width=width, **attack)
        for sparsity in sparseprop["sparsities"]:
            rows += sparseprop_rows(sparsity=sparsity, rounds=sparseprop["rounds"], **size)
        for sparsity in memory["sparsities"]:
            steps = memory["steps"]
            rows += memory_rows(sparsity=sparsity, steps=steps, strategy=strategy, **size)
    return [*rows, *crossover_rows(rows, **base), *ratio_rows(rows, strategy=strategy, **base)]


def crossover_rows(rows: list[Row], *, width: float, threads: int) -> list[Row]:
    """At which density of the network the engine is as fast as the fastest dense form."""
    found: dict[float, float] = {}
    for row in steps_of(rows, objective="natural", width=width, threads=threads):
        found[row["sparsity"]] = max(found.get(row["sparsity"], 0), row["times faster"])
    points = sorted((1 - sparsity, times) for sparsity, times in found.items())
    for (low, above), (high, below) in pairwise(points):
        if above >= 1 > below:
            share = math.log(above) / math.log(above / below)
            density = low * (high / low) ** share
            return [{"part": "crossover", "equally fast at density %": 100 * density}]
    faster = [density for density, times in points if times >= 1]
    note = f"faster at all densities up to {100 * max(faster):.3g} %" if faster else "never faster"
    return [{"part": "crossover", "note": note}]


def steps_of(rows: list[Row], **label: Any) -> list[Row]:
    """Rows of the engine's steps with these labels."""
    return [
        row
        for row in rows
        if row["part"] == "step"
        and "times faster" in row
        and all(row[key] == value for key, value in label.items())
    ]


def ratio_rows(rows: list[Row], *, width: float, threads: int, strategy: str) -> list[Row]:
    """The numbers that have a name: of several storages, the faster one's."""

    def fastest(name: str, candidates: list[Row]) -> None:
        if candidates:
            row = max(candidates, key=lambda row: row["times faster"])
            add(name, row["times faster"], row["by"], row["against"])

    def add(name: str, value: float, by: str, against: str | None) -> None:
        label = {"part": "ratio", "ratio": name, "of": by, "against": against}
        found.append(label | judged("value", value, **TARGETS[name]))

    found: list[Row] = []
    for objective, sparsity in (("natural", 0.99), ("natural", 0.95), ("trades", 0.95)):
        label = {"objective": objective, "sparsity": sparsity, "width": width, "threads": threads}
        steps = steps_of(rows, **label)
        fastest(f"{objective}_{sparsity}", [r for r in steps if r["by"].endswith("Lightning")])
    of_parts = {part: [r for r in rows if r["part"] == part] for part in ("inference", "share")}
    for batch in (1, 16, 128):
        forms = {
            row["by"]: row
            for row in of_parts["inference"]
            if row["sparsity"] == 0.99 and row.get("batch") == batch
        }
        ours = [row for row in forms.values() if row["by"].startswith("sparse")]
        fastest(f"inference_0.99_batch{batch}", ours)
        peer = forms.get("onnxruntime float32")
        if peer and f"onnxruntime_0.99_batch{batch}" in TARGETS:
            row = min(ours, key=lambda row: row["ms"])
            times = peer["ms"] / row["ms"]
            add(f"onnxruntime_0.99_batch{batch}", times, row["by"], peer["by"])
    timed = [row for row in rows if "times faster" in row]
    for sparsity in (0.99, 0.95):
        of_peer = [r for r in timed if r["part"] == "sparseprop" and r["sparsity"] == sparsity]
        fastest(f"sparseprop_{sparsity}", of_peer)
    fastest("pgd50x10", [row for row in timed if row["part"] == "attack"])
    shares = [row for row in of_parts["share"] if row["strategy"] == strategy]
    # Of the storage that one would take; the larger share of all sparsities.
    taken: dict[float, Row] = {}
    for row in sorted(shares, key=lambda row: row["step ms"]):
        taken.setdefault(row["sparsity"], row)
    if taken:
        row = max(taken.values(), key=lambda row: row["share %"])
        by = f"{row['storage']}, {row['sparsity']}"
        add("connectivity_share", row["share %"] / 100, by, "the step")
    return found


def ratios(rows: list[Row]) -> dict[str, float]:
    """What OUTPUT/engine.json has under that name."""
    return {row["ratio"]: row["value"] for row in rows if "ratio" in row}


def machine() -> dict[str, Any]:
    """What decides these numbers beside what every benchmark tells."""
    flags: set[str] = set()
    for line in read_lines("/proc/cpuinfo"):
        if line.startswith("flags"):
            flags = set(line.split())
            break
    peers = {}
    for package in ("sparseprop", "onnx", "onnxruntime"):
        try:
            peers[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            peers[package] = None
    return {
        "instructions": [flag for flag in FLAGS if flag in flags],
        "engine": instruction_set(),
        "trains in": fast_storage(),
        "peers": peers,
    }
