"""Pruning curves and noise on pruned networks against plain NumPy on the stages' own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.article_oracle import (
    ANN,
    CELL,
    COUNT,
    PAIRS,
    SIZES,
    Oracle,
    copied,
    metrics_of,
    rows_of,
    small,
)
from safetensors.torch import load_file

from rewire.article import adaptive as article_adaptive
from rewire.article import curves as article_curves
from rewire.article import noise as article_noise
from rewire.article import train as article_train
from rewire.article.noise_vectors import noise_batches
from rewire.attacks.universal import Recipe, make_noise
from rewire.data.load import load_data
from rewire.files import sha256
from rewire.models.artifact import load_dense


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Results of all stages for one thin ANN."""
    output = tmp_path_factory.mktemp("outputs")
    for stage in (article_train, article_noise, article_curves, article_adaptive):
        stage.run(*small(output, *ANN))
    return output


@pytest.fixture(scope="module")
def oracle(finished) -> Oracle:
    return Oracle(finished)


HIDDEN = ("dense1", "dense2", "dense3")
ALL = (*HIDDEN, "output")
WHOLE = [0, 0.4, 0.8, 0.81, 0.85, 0.9, 0.96, 0.98]


@pytest.mark.parametrize(
    ("curve", "kinds", "names", "count"),
    [
        ("absolute", {"absolute": 0}, HIDDEN, COUNT),
        ("activated", {"activated": 0}, HIDDEN, COUNT),
        ("combined", {"absolute": 0, "activated": 0.07}, HIDDEN, COUNT),
        ("random", {"random": 0}, HIDDEN, COUNT),
        ("mean_x", {"mean_x": 0}, HIDDEN, COUNT),
        ("activated_2000", {"activated": 0}, HIDDEN, 250),
        ("absolute_output", {"absolute": 0}, ALL, COUNT),
        ("activated_output", {"activated": 0}, ALL, COUNT),
        *((f"{kind}_{name}", {kind: 0}, (name,), COUNT)
          for kind in ("absolute", "activated") for name in HIDDEN),
    ],
)  # fmt: skip
def test_curves_equal_sorting_and_counting(finished, oracle, curve, kinds, names, count):
    rows = [row for row in rows_of(finished) if row["curve"] == curve]
    sampled = "activated" in kinds and curve in ("activated", "combined")
    draws, evaluations = (2 if sampled else 1), 1 + (curve in ("absolute", "activated", "combined"))
    assert len(rows) == draws * len(WHOLE) * (evaluations * 3 + 1)
    assert sorted({float(row["ratio"]) for row in rows}) == WHOLE
    numbers = {
        (int(r["draw"]), float(r["ratio"]), r["evaluation"], r["column"]): int(r["correct"])
        for r in rows
    }
    for draw, ratio in [(0, 0), (draws - 1, 0.4), (0, 0.85), (draws - 1, 0.9)]:
        gone = [
            (kind, name, max(0, round(ratio - less, 2)))
            for kind, less in kinds.items()
            for name in names
        ]
        weights = oracle.pruned(gone, draw=draw, count=count)
        for evaluation in ("E1", "E2")[:evaluations]:
            found = [numbers[draw, ratio, evaluation, c] for c in ("none", "3/.25", "8/.2")]
            assert found == oracle.columns(weights, evaluation)
        x, y = oracle.held_out
        held_out = oracle.correct(weights, x.flatten(1).numpy(), y)
        assert numbers[draw, ratio, "E1", "validation"] == held_out
        (sparsity,) = {
            float(r["sparsity"])
            for r in rows
            if (int(r["draw"]), float(r["ratio"])) == (draw, ratio)
        }
        assert sparsity == pytest.approx(oracle.sparsity(weights, names), abs=1e-4)
    assert len({numbers[0, ratio, "E1", "3/.25"] for ratio in WHOLE}) > 1 or len(names) == 1
    assert {row["images"] for row in rows if row["column"] != "validation"} == {"90"}
    assert {row["images"] for row in rows if row["column"] == "validation"} == {"40"}


def test_unpruned_is_what_the_noise_stage_measured(finished):
    measured = metrics_of(finished, "article_noise")["accuracy"]["G1"]
    metrics = metrics_of(finished, "article_curves")
    assert metrics["columns"] == ["none", "3/.25", "8/.2"]
    assert metrics["images"] == 90
    for evaluation in ("E1", "E2"):
        unpruned = measured[evaluation]["all"]["correct"]
        whole = [
            row for row in rows_of(finished)
            if float(row["ratio"]) == 0 and row["evaluation"] == evaluation
        ]  # fmt: skip
        assert len({row["curve"] for row in whole}) == (14 if evaluation == "E1" else 3)
        for row in whole:
            assert float(row["sparsity"]) == 0
            if row["column"] != "validation":
                assert int(row["correct"]) == unpruned[metrics["columns"].index(row["column"])]
        (none,) = (
            point for point in metrics["points"]
            if (point["point"], point["evaluation"]) == ("none", evaluation)
        )  # fmt: skip
        assert (none["correct"], none["sparsity"], none["ratios"]) == (unpruned, 0, {})
    assert unpruned[0] > 50
    assert min(unpruned[1:]) < unpruned[0] - 5


def test_points(finished, oracle):
    metrics = metrics_of(finished, "article_curves")
    found = {(p["point"], p["draw"], p["evaluation"]): p for p in metrics["points"]}
    names = ["none", "absolute", "activated", "combined", "layers"]
    assert list(dict.fromkeys(p["point"] for p in metrics["points"])) == names
    assert len(found) == len(metrics["points"]) == 2 * (1 + 1 + 2 + 2 + 2)
    rows = rows_of(finished)
    for name, ratio in (("absolute", 0.9), ("activated", 0.81)):
        for draw in {p["draw"] for p in metrics["points"] if p["point"] == name}:
            for evaluation in ("E1", "E2"):
                point = found[name, draw, evaluation]
                curve = {
                    row["column"]: int(row["correct"])
                    for row in rows
                    if (row["curve"], int(row["draw"]), float(row["ratio"]), row["evaluation"])
                    == (name, draw, ratio, evaluation)
                }
                assert point["correct"] == [curve[column] for column in metrics["columns"]]
                assert point["images"] == [90] * 3
                if evaluation == "E1":
                    assert point["validation"] == {"correct": curve["validation"], "images": 40}
    table = {
        "combined": [
            (kind, name, ratio)
            for kind, ratio in (("absolute", 0.85), ("activated", 0.8))
            for name in HIDDEN
        ],
        "layers": [
            ("absolute", "dense1", 0.85),
            ("absolute", "dense2", 0.95),
            ("activated", "dense1", 0.85),
            ("activated", "dense3", 0.95),
        ],
    }
    for name, gone in table.items():
        weights = oracle.pruned(gone, draw=1)
        for evaluation in ("E1", "E2"):
            point = found[name, 1, evaluation]
            assert point["correct"] == oracle.columns(weights, evaluation)
            assert point["sparsity"] == pytest.approx(oracle.sparsity(weights, HIDDEN), abs=1e-4)
    assert found["combined", 0, "E1"]["sparsity"] > 0.85
    assert found["layers", 0, "E1"]["ratios"]["activated"] == {"dense1": 0.85, "dense3": 0.95}


def test_dead_pixels(finished, oracle):
    metrics = metrics_of(finished, "article_curves")
    dead = oracle.means("dense1", 0, COUNT) == 0
    found = metrics["dead_pixels"]
    assert 100 < dead.sum() == found["pixels"] == metrics["dead_inputs"]["dense1"]
    assert found["share"] == found["pixels"] / 784
    for name in ("dense2", "output"):
        assert metrics["dead_inputs"][name] == (oracle.means(name, 0, COUNT) == 0).sum()
    weights = oracle.pruned([])
    assert found["accuracy"]["unpruned"]["correct"] == oracle.columns(weights, "E1")
    pruned = weights | {"dense1": weights["dense1"] * ~dead}
    assert found["accuracy"]["weights_pruned"]["correct"] == oracle.columns(pruned, "E1")
    oracle.noise, kept = oracle.noise * ~dead, oracle.noise
    assert found["accuracy"]["noise_zeroed"]["correct"] == oracle.columns(weights, "E1")
    oracle.noise = kept
    assert found["accuracy"]["noise_zeroed"]["images"] == [90] * 3


def test_noise_made_anew_on_pruned_networks(finished, oracle):
    metrics = metrics_of(finished, "article_adaptive")
    assert (metrics["steps"], metrics["evaluation"]) == (8, "E1")
    assert [point["point"] for point in metrics["points"]] == ["absolute", "activated", "combined"]
    fixed = {
        point["point"]: point["correct"]
        for point in metrics_of(finished, "article_curves")["points"]
        if (point["draw"], point["evaluation"]) == (0, "E1")
    }
    train, *_ = load_data(dataset="mnist", split="first", validation_size=40, **SIZES)
    batches = noise_batches(train, batch_size=50, seed=0)
    made = load_file(finished / "quick" / "article_adaptive" / CELL / "vectors.safetensors")
    for point in metrics["points"]:
        name = point["point"]
        assert made[name].shape == (len(PAIRS), 784)
        assert point["static"]["correct"] == fixed[name]
        weights = oracle.pruned([(k, n, r) for k, r in point["ratios"].items() for n in HIDDEN])
        kept, oracle.noise = oracle.noise, made[name].numpy()
        assert point["adaptive"]["correct"] == oracle.columns(weights, "E1")
        oracle.noise = kept
        assert point["adaptive"] != point["static"]
        assert point["adaptive"]["images"] == [90] * 3

        model = load_dense(finished / "quick" / "article_train" / CELL / "weights.safetensors")
        for layer, weight in zip(model.hidden.values(), weights.values(), strict=False):
            layer.weight.data = torch.from_numpy(weight.copy())
        again = make_noise(model, batches(), pairs=PAIRS, recipe=Recipe(steps=8, lr=3.0))
        torch.testing.assert_close(made[name], again, rtol=0, atol=1e-4)
    assert (made["absolute"] - torch.from_numpy(oracle.noise)).abs().max() > 0.01
    assert (made["absolute"] - made["activated"]).abs().max() > 0.01


@pytest.mark.parametrize(("stage", "calls"), [(article_curves, 5), (article_adaptive, 3)])
def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(
    finished, tmp_path, monkeypatch, stage, calls
):
    output, judge, done = copied(finished, tmp_path), stage.judge, []

    def interrupted(*given, **named):
        if len(done) == calls:
            raise KeyboardInterrupt
        done.append(1)
        return judge(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(stage, "judge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage.run(*small(output, *ANN))
    name = f"article_{stage.__name__.rpartition('.')[2]}"
    folder = output / "quick" / name / CELL
    assert not (folder / "manifest.json").exists()

    counted = []
    monkeypatch.setattr(stage, "judge", lambda *g, **n: counted.append(1) or judge(*g, **n))
    stage.run(*small(output, *ANN))
    whole = {article_curves: 16 + 2, article_adaptive: 2 * 3}[stage]
    assert len(counted) == whole - calls
    assert not (output / "quick" / "checkpoints" / f"{name}-{CELL}").exists()
    files = json.loads((folder / "manifest.json").read_text())["files"]
    before = finished / "quick" / name / CELL
    assert files == json.loads((before / "manifest.json").read_text())["files"]
    assert len(files) >= 3
    assert all(sha256(before / file) == digest for file, digest in files.items())


def test_the_cnn_is_pruned_one_dense_layer_at_a_time(tmp_path):
    arguments = ("network=cnn", "curves.step_factor=1000", "curves.most_draws=1")
    for stage in (article_train, article_noise, article_curves, article_adaptive):
        stage.run(*small(tmp_path, *arguments))
    cell = "cnn-lq-seed0"
    oracle, rows = Oracle(tmp_path, cell), rows_of(tmp_path, cell)
    x, y = oracle.test
    fed = [x, *(x + torch.from_numpy(vector).view(1, 28, 28) for vector in oracle.noise)]
    with torch.no_grad():
        features = [oracle.model.inputs_of(images)["dense1"].numpy() for images in fed]
    for kind in ("absolute", "activated"):
        for name, first in (("dense1", 0.9), ("dense2", 0.7)):
            chosen = [row for row in rows if row["curve"] == f"{kind}_{name}"]
            ratios = sorted({float(row["ratio"]) for row in chosen})
            assert ratios == sorted({0, first, 0.9, 0.96, 0.98, 0.99, 0.992})
            for ratio in (0, first, 0.98):
                weights = oracle.pruned([(kind, name, ratio)])
                expected = [oracle.correct(weights, columns, y) for columns in features]
                found = {
                    row["column"]: int(row["correct"])
                    for row in chosen
                    if float(row["ratio"]) == ratio
                }
                assert [found[column] for column in ("none", "3/.25", "8/.2")] == expected
    metrics = metrics_of(tmp_path, "article_curves", cell)
    assert "weights_pruned" not in metrics["dead_pixels"]["accuracy"]
    assert {point["point"] for point in metrics["points"]} == {
        "none", "absolute", "activated", "layers"
    }  # fmt: skip
    adaptive = metrics_of(tmp_path, "article_adaptive", cell)
    assert [point["point"] for point in adaptive["points"]] == ["layers"]
