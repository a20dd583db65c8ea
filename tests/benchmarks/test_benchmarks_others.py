"""Augmentation, decoupled convolutions, growing networks, start-up and sweeps."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from benchmarks import augmentation, decoupled, scale, startup, throughput
from benchmarks.cells import run_python
from rewire.models.layout import total_size
from rewire.pruning.decoupled_cost import BACKENDS
from rewire.registry import STRATEGIES

CPU = torch.device("cpu")


def test_plain_loop_and_ours_augment_alike():
    rows = augmentation.run(device=CPU, cache=None, batch_size=16, rounds=1)
    assert [(row["augmentation"], row["by"]) for row in rows] == list(
        itertools.product(("shift", "crop"), ("ours", "plain loop", "torchvision v2"))
    )
    assert [row["equal images"] for row in rows if "equal images" in row] == [True, True]


@pytest.mark.parametrize("name", ["shift", "crop"])
def test_other_images_are_noticed(name, monkeypatch):
    monkeypatch.setitem(augmentation.PLAIN, name, lambda image, *numbers: image)
    rows = augmentation.run(device=CPU, cache=None, batch_size=16, rounds=1)
    equal = {row["augmentation"]: row["equal images"] for row in rows if "equal images" in row}
    assert not equal.pop(name)
    assert all(equal.values())


def test_torchvision_moves_as_far_as_ours():
    image = torch.zeros(1, 32, 32)
    image[0, 16, 16] = 1
    for transform in augmentation.TORCHVISION.values():
        centres = torch.stack([transform(image)[0].nonzero().float().mean(0) for _ in range(50)])
        # A flip takes column 16 to 15.
        assert float((centres - 15.5).abs().max()) <= 4.6
        assert float(centres.std()) > 1


def test_decoupled_products_equal_the_convolution():
    settings = decoupled.SETTINGS["quick"] | {"batch_sizes": [1, 2], "ratios": [0.5]}
    rows = decoupled.run(device=CPU, cache=None, **settings)
    whole = [row for row in rows if row["pruned"] == 0 and not row["by"].startswith("dense")]
    assert len(whole) == 2 * (4 * len(BACKENDS) + 1)
    assert all(row["equal outputs"] for row in whole)
    entries = {(r["what"], r["pruned"]): r["entries"] for r in rows if r["by"] == "scipy"}
    for (what, ratio), count in entries.items():
        assert count == entries[what, 0.0] - int(ratio * entries[what, 0.0])


def test_other_outputs_are_noticed(monkeypatch):
    monkeypatch.setattr(decoupled, "decouple", lambda conv, *size: 2 * WHOLE(conv, *size))
    rows = decoupled.run(device=CPU, cache=None, **decoupled.SETTINGS["quick"])
    found = {row["what"]: row["equal outputs"] for row in rows if "equal outputs" in row}
    assert found == {f"conv{n}": False for n in (1, 2, 3, 4)} | {"network": True}


WHOLE = decoupled.decouple


def test_growing_networks():
    rows = scale.run(device=CPU, cache=None, **scale.SETTINGS["quick"])
    whats = ["search", "count", "count beside known", *scale.CEILINGS]
    whats += [f"step {name}" for name in STRATEGIES]
    assert [row["what"] for row in rows] == whats * 2
    for row in rows:
        if row["what"] in whats[1:5]:
            passes = 2 if row["what"] == "copy of θ" else 1
            assert row["GB/s"] == pytest.approx(4 * passes * row["weights"] / row["ms"] / 1e6)
    for part in (rows[: len(whats)], rows[len(whats) :]):
        ceilings = [row["% of ceiling"] for row in part if row["what"] in scale.CEILINGS]
        assert max(ceilings) == pytest.approx(100)


@pytest.mark.parametrize("size", [10**5, 10**6, 10**9])
def test_synthetic_networks_have_about_the_size(size):
    layers = scale.synthetic(size)
    assert abs(total_size(layers) / size - 1) < 0.03
    assert [layer.offset for layer in layers[1:]] == [layer.span.stop for layer in layers[:-1]]


def test_what_does_not_fit_is_skipped_with_a_reason(monkeypatch):
    monkeypatch.setattr(scale, "free_memory", lambda device: 5e6)
    rows = scale.run(device=CPU, cache=None, **scale.SETTINGS["quick"])
    skipped = [row for row in rows if "note" in row]
    note = "skipped: 0.0 GB of memory free, 0.0 GB needed"
    assert skipped == [{"weights": 10**6, "note": note}]
    assert len(rows) > 1


def test_memory_of_a_task_is_its_peak():
    mega = 1 << 20
    found = scale.extra_memory(lambda: torch.ones(64 * mega).sum(), CPU)
    if Path("/proc/self/clear_refs").exists():
        assert 200 * mega < found < 320 * mega
    else:
        assert found is None
    assert scale.free_memory(CPU) > 100 * mega


def test_start_up_of_a_stage_without_its_work(tmp_path):
    rows = startup.run(device=CPU, cache=tmp_path / "cache", **startup.SETTINGS["quick"])
    assert [(row["stage"], row["what"]) for row in rows] == [
        ("import torch", "python -c"),
        ("train", "until work"),
        ("train", "finished"),
    ]
    assert all(row["seconds"] > 0 for row in rows)
    assert [row.get("target") for row in rows] == [None, "<= 3", "<= 3"]
    assert list(tmp_path.iterdir()) == []  # its cells are gone


def test_an_idle_stage_leaves_a_finished_cell_without_a_result(tmp_path):
    idle = ("-m", "benchmarks.idle", "thesis", "structure", f"output={tmp_path}", "tracking=off")
    assert "wrote" in run_python(*idle)
    (cell,) = (tmp_path / "quick" / "structure").iterdir()
    assert {path.name for path in cell.iterdir()} == {
        "config.yaml",
        "manifest.json",
        "provenance.json",
    }


def fake_sweep(calls: list, *, steps):
    """A sweep that leaves what trainings leave: the number of steps, by how many ran at a time."""

    def run_stage(stage, *overrides, output):
        calls.append((stage, overrides))
        seeds = next(o for o in overrides if o.startswith("seed=")).partition("=")[2].split(",")
        jobs = int(overrides[-1].partition("hydra.launcher.jobs=")[2])
        for seed in seeds:
            cell = output / "quick" / "train" / f"natural-s0.9-random-seed{seed}"
            cell.mkdir(parents=True)
            (cell / "metrics.json").write_text(json.dumps({"steps": steps(jobs)}))

    return run_stage


def sweep_rows(tmp_path, monkeypatch, steps) -> tuple[list, list]:
    calls: list = []
    monkeypatch.setattr(throughput, "run_stage", fake_sweep(calls, steps=steps))
    settings = throughput.SETTINGS["quick"] | {"trainings": {"cpu": 3}, "rounds": 2}
    return calls, throughput.run(device=CPU, cache=tmp_path / "cache", **settings)


def test_throughput_counts_all_images_of_a_sweep(tmp_path, monkeypatch):
    calls, rows = sweep_rows(tmp_path, monkeypatch, lambda jobs: 7)
    assert [call[0] for call in calls] == ["train"] * 4
    assert [call[1][-1] for call in calls] == ["hydra.launcher.jobs=1", "hydra.launcher.jobs=2"] * 2
    assert all({"-m", "seed=0,1,2", "trainer.device=cpu"} <= set(call[1]) for call in calls)
    assert [row["images"] for row in rows] == [3 * 7 * 32] * 2
    for row in rows:
        assert row["images/s"] == pytest.approx(row["images"] / row["seconds"])
    assert rows[1]["equal work"]
    assert list(tmp_path.iterdir()) == []


def test_unequal_work_is_noticed(tmp_path, monkeypatch):
    _, rows = sweep_rows(tmp_path, monkeypatch, lambda jobs: 7 + jobs)
    assert rows[1]["equal work"] is False
