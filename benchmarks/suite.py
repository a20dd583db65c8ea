"""The benchmarks by name, and how one of them is run, printed and written."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Row
from rewire.errors import unknown_name
from rewire.files import write_json
from rewire.pipeline.provenance import provenance
from rewire.reporting.text_tables import summary_table

# Each is a module with DEVICES, SETTINGS by mode and run(device=, cache=, **settings) → rows. It
# may have ratios(rows) → numbers by name, machine() → what else is to be told of the machine, and
# picture(rows, path).
BENCHES = (
    "search",
    "connectivity",
    "passes",
    "training",
    "floor",
    "attack",
    "augmentation",
    "startup",
    "decoupled",
    "scale",
    "throughput",
    "engine",
    "structure",
)
MODES = ("full", "quick")


def check_names(names: list[str]) -> list[str]:
    """The benchmarks to run, all of them if none is named; refuses an unknown name."""
    for name in names:
        if name not in BENCHES:
            raise unknown_name("benchmark", name, BENCHES)
    return names or list(BENCHES)


def run_bench(name: str, *, mode: str, device: str, output: Path) -> dict[str, Any]:
    """Run one benchmark on its devices, print its table and write OUTPUT/NAME.json.

    Args:
        name: one of `BENCHES`.
        mode: one of `MODES`; `quick` is so small that its numbers say nothing about the targets.
        device: `cpu`, `cuda`, or `all` for both.
        output: folder of the results; trained networks are kept below OUTPUT/cache.

    Returns:
        What was written: `rows` (each with its `device`), `not_measured` (device → reason),
        `settings`, `machine` with versions and commit, and `ratios` of a benchmark that has them.
    """
    bench = importlib.import_module(f"benchmarks.{name}")
    settings, started = bench.SETTINGS[mode], time.perf_counter()
    load = os.getloadavg()[0]
    rows, not_measured = [], {}
    for kind in bench.DEVICES:
        if device not in (kind, "all"):
            not_measured[kind] = "not asked for"
        elif kind == "cuda" and not torch.cuda.is_available():
            not_measured[kind] = "no CUDA device"
        else:
            found = bench.run(device=torch.device(kind), cache=output / "cache", **settings)
            rows += [{"device": kind} | row for row in found]
    if mode == "quick":
        rows = [row | ({"met": "not judged"} if "met" in row else {}) for row in rows]
    result = {
        "bench": name,
        "mode": mode,
        "settings": settings,
        "rows": rows,
        "not_measured": not_measured,
        "machine": provenance(seconds=time.perf_counter() - started).as_json()
        | {"cores": os.cpu_count(), "load_before": load},
    }
    if hasattr(bench, "machine"):
        result["machine"] |= bench.machine()
    if hasattr(bench, "ratios"):
        result["ratios"] = bench.ratios(rows)
    path = output / f"{name}.json"
    write_json(path, result)
    if hasattr(bench, "picture"):
        bench.picture(rows, path.with_suffix(".png"))
    print(f"\n{name}: {bench.__doc__.strip()}\n\n{tables(rows)}")
    for kind, reason in not_measured.items():
        print(f"{kind}: not measured ({reason})")
    if mode == "quick":
        print("quick run: tiny sizes and few repetitions, targets are not judged")
    print(f"wrote {path} after {result['machine']['seconds']:.0f} s", flush=True)
    return result


def tables(rows: list[Row]) -> str:
    """The rows as a table, those that name a `part` in one per part."""
    parts: dict[str | None, list[Row]] = {}
    for row in rows:
        parts.setdefault(row.get("part"), []).append({k: v for k, v in row.items() if k != "part"})
    return "\n".join(
        summary_table(found) if part is None else f"{part}\n\n{summary_table(found)}"
        for part, found in parts.items()
    )
