"""The engine's convolutions by layer, beside PyTorch's, and the limits of a core beneath them.

A layer's arithmetic is one multiply-add per connected weight and output pixel that it reaches; of
the input that a connection reads nothing can stay in registers, so the second-level cache's
bandwidth is the floor. Calls go through autograd, which adds some ten microseconds.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.engine_forms import (
    DTYPES,
    IMAGE,
    SEED,
    fast_storage,
    trained_like,
)
from benchmarks.engine_steps import Shifts
from benchmarks.harness import Row
from rewire.engine.index import Index, LayerIndex
from rewire.engine.library import Geometry
from rewire.engine.ops import convolve, pack
from rewire.engine.plan import Plan
from rewire.files import read_json
from rewire.rng import generator

SOURCE = Path(__file__).with_name("engine_floor.cpp")
PAUSE = 0.003  # seconds before every reading
DIRECTIONS = ("forward", "input gradient", "weight gradient")
Tasks = dict[str, Callable[[], Any]]


def kernel_rows(
    floor: list[Row], *, sparsity: float, width: float, batch_size: int, rounds: int
) -> list[Row]:
    """Milliseconds and GMAC/s of every convolution, direction and storage.

    Args:
        floor: what `floor_rows` found; the forward pass is held against it.
    """
    model = trained_like(width=width, sparsity=sparsity)
    plan, connected = Plan(model.body), model.connected()
    values = model.theta.detach()[connected]
    indices = {}
    for storage, dtype in DTYPES.items():
        index = indices[storage] = Index(connected, model.layers, plan.geometry(IMAGE, dtype))
        index.set_weights(values)
    rows = []
    for number, layer in enumerate(model.layers):
        if len(layer.shape) != 4:
            continue
        work = {
            storage: sparse_tasks(index.layers[number], values, batch_size, DTYPES[storage])
            for storage, index in indices.items()
        }
        geometry = indices["float32"].layers[number].geometry
        forms = {"float32", fast_storage()}
        work |= {
            f"dense {storage}": dense_tasks(geometry, batch_size, DTYPES[storage])
            for storage in DTYPES
            if storage in forms
        }
        tasks = {
            f"{by}/{direction}": task
            for by, products in work.items()
            for direction, task in products.items()
        }
        timings = Shifts(tasks, every={}, rounds=rounds, warm_up=1, pause=PAUSE).run()
        span = indices["float32"].layers[number].span
        products = batch_size * reached(connected[span] - layer.offset, geometry)
        for by in work:
            row: Row = {"part": "kernel", "sparsity": sparsity, "layer": layer.name}
            row |= {"by": by if by.startswith("dense") else f"sparse {by}"}
            for direction in DIRECTIONS:
                seconds = timings[f"{by}/{direction}"].median
                row[f"{direction} ms"] = 1e3 * seconds
                if not by.startswith("dense"):
                    row[f"{direction} GMAC/s a core"] = (
                        products / seconds / 1e9 / torch.get_num_threads()
                    )
            if by in DTYPES:
                limit = axpy_limit(floor, by, indices[by].layers[number].geometry)
                if limit:
                    row["forward % of limit"] = 100 * row["forward GMAC/s a core"] / limit
            rows.append(row)
    return rows


def sparse_tasks(layer: LayerIndex, values: Tensor, batch_size: int, dtype: torch.dtype) -> Tasks:
    """The three products of a layer on the engine, on random maps."""
    g = layer.geometry
    x = pack(random_maps(batch_size, g.inputs, g.height, g.width), dtype)
    dy = pack(random_maps(batch_size, g.outputs, g.out_height, g.out_width), dtype).data
    weights = values[layer.span].clone()
    maps, parameters = x.data.requires_grad_(), weights.clone().requires_grad_()
    by_input = convolve(x, weights, layer).data
    x_fixed = pack(random_maps(batch_size, g.inputs, g.height, g.width), dtype)
    by_weight = convolve(x_fixed, parameters, layer).data

    def forward() -> None:
        with torch.no_grad():
            convolve(x_fixed, weights, layer)

    def gradient(of: Tensor, by: Tensor) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(of, by, dy, retain_graph=True)

    return dict(
        zip(
            DIRECTIONS,
            (forward, gradient(by_input, maps), gradient(by_weight, parameters)),
            strict=True,
        )
    )


def dense_tasks(g: Geometry, batch_size: int, dtype: torch.dtype) -> Tasks:
    """The same of PyTorch's convolution, whole, channels last as it is fastest."""

    def last(x: Tensor) -> Tensor:
        return x.to(dtype).contiguous(memory_format=torch.channels_last)

    x = last(random_maps(batch_size, g.inputs, g.height, g.width))
    dy = last(random_maps(batch_size, g.outputs, g.out_height, g.out_width))
    weight = last(random_maps(g.outputs, g.inputs, g.kernel, g.kernel))
    stride, padding = [g.stride] * 2, [g.padding] * 2

    def backward(mask: list[bool]) -> Callable[[], Any]:
        return lambda: torch.ops.aten.convolution_backward(
            dy, x, weight, None, stride, padding, [1, 1], False, [0, 0], 1, mask
        )

    return dict(
        zip(
            DIRECTIONS,
            (
                lambda: F.conv2d(x, weight, stride=stride, padding=padding),
                backward([True, False, False]),
                backward([False, True, False]),
            ),
            strict=True,
        )
    )


def random_maps(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(SEED, "bench", *shape))


def reached(entries: Tensor, g: Geometry) -> int:
    """Multiply-adds of one image: output pixels that see a pixel of the input, over all entries.

    Args:
        entries: flat indices of the layer's connected weights, (out, row, column, in).
        g: its geometry.
    """

    def seen(size: int, out: int) -> Tensor:
        """Output rows (or columns) that each tap reaches."""
        at = torch.arange(out) * g.stride - g.padding + torch.arange(g.kernel)[:, None]
        return ((at >= 0) & (at < size)).sum(1)

    taps = torch.div(entries, g.inputs, rounding_mode="floor") % g.kernel**2
    rows, columns = seen(g.height, g.out_height), seen(g.width, g.out_width)
    return int((rows[taps // g.kernel] * columns[taps % g.kernel]).sum())


def axpy_limit(floor: list[Row], storage: str, g: Geometry) -> float | None:
    """GMAC/s that a core reaches on a working set as large as a block of the layer's input."""
    kilobytes = g.inputs * g.height * g.width * g.lanes * DTYPES[storage].itemsize / 1024
    measured = {
        row["working set KB"]: row["GMAC/s a core"]
        for row in floor
        if row.get("what") == "axpy" and row["storage"] == storage
    }
    large = [size for size in measured if size >= kilobytes]
    return measured[min(large) if large else max(measured)] if measured else None


def floor_rows() -> list[Row]:
    """What a core can do at best: a program of its own, compiled now, measures it."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++")), None)
    if compiler is None:
        return [{"part": "floor", "note": "not measured: no C++ compiler (CXX, g++ or clang++)"}]
    with tempfile.TemporaryDirectory() as folder:
        program, result = Path(folder) / "floor", Path(folder) / "floor.json"
        options = ["-std=c++17", "-O3", "-march=native", str(SOURCE), "-o", str(program)]
        try:
            for command in ([*shlex.split(compiler), *options], [str(program), str(result)]):
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            reason = str(said).strip().splitlines()[0]
            return [{"part": "floor", "note": f"not measured: {compiler} failed: {reason}"}]
        return [{"part": "floor"} | row for row in read_json(result)]
