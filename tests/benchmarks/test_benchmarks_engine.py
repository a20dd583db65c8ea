"""The engine's benchmark: networks, turns, numbers, and what it says where it cannot measure."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import (
    engine,
    engine_forms,
    engine_inference,
    engine_kernels,
    engine_memory,
    engine_sparseprop,
)
from benchmarks.engine_forms import (
    ASSUMED,
    CPU,
    MEASURED,
    UnfoldedConv2d,
    calibrate,
    connections,
    folded,
    on_engine,
    ordinary,
    trained_like,
    unfolded,
)
from benchmarks.engine_steps import ONCE, Shifts
from benchmarks.suite import run_bench
from benchmarks.workload import dense_network, training_batches
from rewire.engine.library import Geometry, instruction_set
from rewire.models.layout import connected_per_layer, connection_budget, total_size

needs_engine = pytest.mark.skipif(instruction_set() is None, reason="the engine was not built")
needs_sparseprop = pytest.mark.skipif(
    engine_sparseprop.sparseprop_missing() is not None, reason="sparseprop is not installed"
)
SMALL = {"width": 0.1, "sparsity": 0.95}


def installed(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) for package in packages)


@pytest.mark.parametrize(
    ("objective", "sparsity"), [*MEASURED, *(("natural", sparsity) for sparsity in ASSUMED)]
)
def test_networks_have_the_whole_budget_and_the_measured_densities(objective, sparsity):
    model = trained_like(width=0.5, sparsity=sparsity, objective=objective)
    counts = connected_per_layer(model.connected(), model.layers)
    assert counts.tolist() == connections(model.layers, sparsity, objective)
    assert int(counts.sum()) == connection_budget(total_size(model.layers), sparsity)
    for expected, count, layer in zip(
        MEASURED.get((objective, sparsity), ()), counts.tolist(), model.layers, strict=False
    ):
        # At another width than the measured one the layers between make up for the others.
        assert 100 * count / layer.size == pytest.approx(expected, rel=0.1, abs=100 / layer.size)


def test_ordinary_and_folded_networks_compute_the_same():
    model = trained_like(**SMALL)
    x = next(iter(training_batches(48, CPU)))[0]
    calibrate(model, x)
    dense = ordinary(model, width=SMALL["width"])
    assert not model.training
    assert not dense.training
    with torch.no_grad():
        expected = model(x)
        for network in (dense, folded(dense)):
            torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-6)
    assert any(isinstance(module, nn.BatchNorm2d) for module in dense)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded(dense))
    norm = next(module for module in dense if isinstance(module, nn.BatchNorm2d))
    assert norm.momentum == 0.1


def test_calibrated_statistics_are_those_of_the_images():
    model = trained_like(**SMALL)
    x = next(iter(training_batches(48, CPU)))[0]
    calibrate(model, x)
    with torch.no_grad(), model.materialised():
        y = model.body.conv1(x)
    torch.testing.assert_close(model.body.norm1.running_mean, y.mean((0, 2, 3)))


def test_unfolded_convolutions_compute_the_same():
    dense = dense_network(width=0.1, device=CPU)
    other = unfolded(copy.deepcopy(dense))
    assert sum(isinstance(module, UnfoldedConv2d) for module in other) == 4
    x = [torch.rand(6, 3, 32, 32).requires_grad_() for _ in range(2)]
    x[1].data.copy_(x[0].data)
    for network, images in zip((dense, other), x, strict=True):
        F.cross_entropy(network(images), torch.arange(6)).backward()
    torch.testing.assert_close(x[0].grad, x[1].grad, rtol=1e-3, atol=1e-6)
    for one, two in zip(dense.parameters(), other.parameters(), strict=True):
        gradient = one.grad if one.shape == two.shape else one.grad.permute(0, 2, 3, 1)
        torch.testing.assert_close(gradient, two.grad, rtol=1e-3, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        conv = next(module for module in other if isinstance(module, UnfoldedConv2d))
        maps = torch.rand(2, conv.weight.shape[3], 4, 4)
        assert conv(maps).dtype == torch.bfloat16


def test_turns_of_rare_cold_and_single_tasks():
    order: list[str] = []
    shifts = Shifts(
        {name: lambda name=name: order.append(name) for name in "abcd"},
        every={"b": 2, "c": 2, "d": ONCE},
        rounds=3,
        warm_up=2,
        cold="c",
    )
    timings = shifts.run(per=5)
    assert "".join(order) == "a" + "ab" + "abcd" + "a" + "abc"
    assert {name: timing.runs for name, timing in timings.items()} == {
        "a": 15,
        "b": 10,
        "c": 10,
        "d": 5,
    }


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [(3, 1, 1, 4), (3, 2, 1, 5), (1, 2, 0, 6), (3, 1, 0, 4)],
)
def test_counted_products_are_those_of_the_convolution(kernel, stride, padding, size):
    out = (size + 2 * padding - kernel) // stride + 1
    g = Geometry(3, 5, size, size, kernel, stride, padding, out, out, 16)
    mask = torch.rand(5, kernel, kernel, 3) < 0.5
    entries = mask.flatten().nonzero()[:, 0]
    ones = torch.ones(1, 3, size, size)
    weight = mask.float().permute(0, 3, 1, 2)
    expected = int(F.conv2d(ones, weight, stride=stride, padding=padding).sum())
    assert engine_kernels.reached(entries, g) == expected


def test_the_floor_is_measured_or_explained(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    if (compiler := engine_kernels.shutil.which("g++")) is not None:
        rows = engine_kernels.floor_rows()
        assert {row["what"] for row in rows} == {"fma", "axpy"}
        assert all(row["GMAC/s a core"] > 0 for row in rows)
        g = Geometry(8, 8, 4, 4, 3, 1, 1, 4, 4, 16)
        smallest = min(
            rows[1:], key=lambda row: (row["working set KB"], row["storage"] != "float32")
        )
        assert engine_kernels.axpy_limit(rows, "float32", g) == smallest["GMAC/s a core"]
        monkeypatch.setenv("CXX", f"{compiler} -fno-such-option")
        (row,) = engine_kernels.floor_rows()
        assert "not measured" in row["note"]
        assert "no-such-option" in row["note"]
        monkeypatch.delenv("CXX")
    monkeypatch.setattr(engine_kernels.shutil, "which", lambda name: None)
    (row,) = engine_kernels.floor_rows()
    assert "no C++ compiler" in row["note"]
    assert engine_kernels.axpy_limit([row], "float32", Geometry()) is None


SETTINGS = {
    "width": 0.1,
    "batch_size": 12,
    "strategy": "random",
    "cases": [
        {"sparsity": 0.99, "today": True, "slow": True, "rounds": 1, "threads": 1},
        {"sparsity": 0.9, "lightning": ["faster"], "rounds": 1, "threads": 1},
    ],
    "shares": {"sparsities": [0.99], "strategies": ["random"], "rounds": 1},
    "kernels": {"sparsities": [0.95], "rounds": 1},
    "inference": {"sparsities": [0.99], "batch_sizes": [1, 16], "rounds": 1},
    "sparseprop": {"sparsities": [0.99], "rounds": 1},
    "attack": {
        "sparsity": 0.95,
        "images": 4,
        "steps": 2,
        "restarts": 3,
        "rounds": 2,
        "dense_every": 2,
    },
    "memory": {"sparsities": [0.99], "steps": 1},
    "threads": 1,
}


def in_process(*command: str) -> str:
    """What `run_python` would print, without a process of its own."""
    _, module, form, *numbers = command
    assert module == "benchmarks.engine_memory"
    sizes = zip(("sparsity", "width", "batch_size", "steps"), numbers, strict=False)
    values = {name: float(n) if name in ("sparsity", "width") else int(n) for name, n in sizes}
    return f"{engine_memory.peak(form, strategy=numbers[-1], **values)}\n"


@needs_engine
def test_all_parts_at_tiny_size(monkeypatch):
    monkeypatch.setattr(engine_memory, "run_python", in_process)
    monkeypatch.setattr(
        engine_sparseprop, "sparseprop_missing", lambda: "sparseprop not measured: a test"
    )
    monkeypatch.setattr(engine, "floor_rows", lambda: [])
    rows = engine.run(device=CPU, cache=None, **SETTINGS)
    json.dumps(rows)
    parts = {
        part: [row for row in rows if row["part"] == part] for part in {r["part"] for r in rows}
    }
    assert parts.keys() == {
        *("step", "share", "kernel", "inference", "attack", "sparseprop", "memory"),
        *("crossover", "ratio"),
    }
    by = [row["by"] for row in parts["step"]]
    first = by[: by.index("sparse bf16, Lightning")]
    assert first[:2] == ["sparse float32, Lightning", "sparse float32, bare loop"]
    assert {"dense float32", "dense bf16", "this training, dense engine"} < set(first)
    for row in parts["step"]:
        assert ("times faster" in row) == row["by"].startswith("sparse")
    assert len(parts["kernel"]) >= 8 * 3
    (share, _) = parts["share"]
    added = sum(share[f"{name} ms"] for name in ("update", "connectivity", "index"))
    assert share["share %"] == pytest.approx(100 * added / share["step ms"])
    equal = {row["by"]: row["equal logits"] for row in parts["inference"] if "equal logits" in row}
    assert equal.keys() >= {"sparse float32", "dense float32", "dense folded float32"}
    assert all(equal.values())
    assert all(row["nobody fooled"] for row in parts["attack"])
    assert [row["restarts timed"] for row in parts["attack"]] == [2, 1]
    assert parts["sparseprop"][0]["note"].startswith("sparseprop not measured")
    found = engine.ratios(rows)
    assert found.keys() >= {
        *("natural_0.99", "inference_0.99_batch1", "inference_0.99_batch16"),
        *("pgd50x10", "connectivity_share"),
    }
    assert found.keys() <= engine.TARGETS.keys()


def test_the_faster_storage_and_the_best_dense_form_count():
    def step(by: str, times: float | None, **label) -> dict:
        row = {"part": "step", "objective": "natural", "sparsity": 0.99, "width": 1, "threads": 2}
        return (
            row
            | {"by": by, "against": "dense"}
            | ({"times faster": times} if times else {})
            | label
        )

    rows = [
        step("sparse float32, Lightning", 5.5),
        step("sparse bf16, Lightning", 6.0),
        step("sparse bf16, bare loop", 7.0),
        step("sparse bf16, Lightning", 9.0, threads=1),
        step("sparse bf16, Lightning", 2.0, sparsity=0.95),
        step("sparse bf16, bare loop", 0.5, sparsity=0.8),
        step("dense", None),
        *(
            {"part": "inference", "sparsity": 0.99, "batch": 1, "by": by, "ms": ms} | more
            for by, ms, more in (
                ("sparse float32", 2.0, {"times faster": 10.0, "against": "dense folded"}),
                ("sparse bf16", 4.0, {"times faster": 5.0, "against": "dense folded"}),
                ("dense folded", 20.0, {}),
                ("onnxruntime float32", 12.0, {"times faster": 1.7, "against": "dense folded"}),
            )
        ),
        *(
            {"part": "share", "sparsity": s, "strategy": "random", "storage": storage}
            | {"step ms": ms, "share %": share}
            for s, storage, ms, share in (
                (0.99, "float32", 5.0, 40.0),
                (0.99, "bf16", 4.0, 15.0),
                (0.95, "bf16", 9.0, 18.0),
            )
        ),
    ]
    named = engine.ratio_rows(rows, width=1, threads=2, strategy="random")
    assert engine.ratios(named) == {
        "natural_0.99": 6.0,
        "natural_0.95": 2.0,
        "inference_0.99_batch1": 10.0,
        "onnxruntime_0.99_batch1": 6.0,
        "connectivity_share": 0.18,
    }
    assert [row.get("met") for row in named] == ["yes", "no", "no", None, "yes"]
    (crossing,) = engine.crossover_rows(rows, width=1, threads=2)
    # From 5 % (2 times faster) to 20 % (half as fast): in the middle of both.
    assert crossing["equally fast at density %"] == pytest.approx(10)
    (never,) = engine.crossover_rows(rows[:2], width=1, threads=2)
    assert never["note"] == "faster at all densities up to 1 %"


def test_named_numbers_and_the_machine_are_written(tmp_path, monkeypatch, capsys):
    rows = [{"part": "step", "by": "dense"}, {"part": "ratio", "ratio": "pgd50x10", "value": 4.5}]
    monkeypatch.setattr(engine, "run", lambda **settings: rows)
    run_bench("engine", mode="quick", device="cpu", output=tmp_path)
    written = json.loads((tmp_path / "engine.json").read_text())
    assert written["ratios"] == {"pgd50x10": 4.5}
    assert written["machine"].keys() >= {"cpu", "versions", "engine", "instructions", "peers"}
    assert [row["part"] for row in written["rows"]] == ["step", "ratio"]
    step, ratio = capsys.readouterr().out.partition("\nratio\n")[::2]
    assert "dense" in step.partition("\nstep\n")[2]
    assert "pgd50x10" in ratio


def test_without_the_engine_there_is_a_reason(monkeypatch):
    monkeypatch.setattr(engine, "instruction_set", lambda: None)
    monkeypatch.setattr(engine, "unavailable", lambda: "it was not built")
    (row,) = engine.run(device=CPU, cache=None, **SETTINGS)
    assert row["note"] == "not measured: it was not built"
    assert engine.ratios([row]) == {}


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install onnx onnxruntime" in engine_inference.onnx_missing()
    (row,) = engine_sparseprop.sparseprop_rows(sparsity=0.99, width=0.1, batch_size=4, rounds=1)
    assert "sparseprop not measured" in row["note"]


@needs_engine
def test_a_peer_that_fails_is_a_row_with_its_reason(monkeypatch):
    monkeypatch.setattr(engine_sparseprop, "sparseprop_missing", lambda: None)

    def fail(*command: str, **options) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(command, 1, "", "Illegal instruction\n")

    monkeypatch.setattr(subprocess, "run", fail)
    (row,) = engine_sparseprop.sparseprop_rows(sparsity=0.99, width=0.1, batch_size=4, rounds=1)
    assert row["note"].endswith("Illegal instruction")


@needs_engine
def test_other_gradients_are_noticed():
    x, y = next(iter(training_batches(16, CPU)))
    model = on_engine(width=0.2, sparsity=0.9)
    dense = ordinary(model, width=0.2)
    for network in (model, dense):
        F.cross_entropy(network(x), y).backward()
    assert engine_sparseprop.same_gradients(model, dense)
    next(dense.parameters()).grad.mul_(1.1)
    assert not engine_sparseprop.same_gradients(model, dense)


@needs_engine
@needs_sparseprop
def test_sparseprop_does_the_same_work():
    torch.manual_seed(0)
    rows = engine_sparseprop.compare(sparsity=0.95, width=0.2, batch_size=32, rounds=1)
    assert [row["by"] for row in rows] == [
        *("sparseprop", "dense float32", "sparse bf16", "sparse float32")
    ]
    assert rows[0]["equal gradients"]
    assert {"conv1", "dense3"} <= set(rows[0]["kept dense"].split(", "))


@pytest.mark.skipif(not installed("onnx", "onnxruntime"), reason="onnxruntime is not installed")
def test_onnxruntime_computes_the_same():
    model = trained_like(width=0.2, sparsity=0.8)
    x = next(iter(training_batches(16, CPU)))[0].contiguous()
    calibrate(model, x)
    dense = folded(ordinary(model, width=0.2))
    with torch.no_grad():
        predict = engine_inference.onnx_predictor(dense)
        torch.testing.assert_close(predict(x), dense(x), rtol=1e-4, atol=1e-6)
        assert predict(x[:1]).shape == (1, 10)


def test_the_machine_is_described():
    told = engine.machine()
    assert told["engine"] == instruction_set()
    assert told["trains in"] in engine_forms.STORAGES
    assert set(told["instructions"]) <= set(engine.FLAGS)
    json.dumps(told)
