"""The chain of stages on a small network: what each reads, writes, skips and refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.small import list_anew, small

from rewire.data.images import as_float
from rewire.data.load import load_data
from rewire.errors import InputError
from rewire.evaluation.ledger import load_ledger
from rewire.files import MANIFEST, sha256
from rewire.models.artifact import load_network, save_network
from rewire.thesis import evaluate, prune, structure, tables, train

STAGES = {"train": train, "prune": prune, "evaluate": evaluate, "structure": structure}
CELL = "natural-s0.9-l2-seed0"


def run_all(output, *overrides):
    for stage in STAGES.values():
        stage.run(*small(output, "rewire=l2", *overrides))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("outputs")
    run_all(output)
    return output


def test_stages_agree_with_each_other(finished):
    base = finished / "quick"
    networks = {
        variant: load_network(base / stage / CELL / "weights.safetensors")[0]
        for variant, stage in (("trained", "train"), ("pruned", "prune"))
    }
    evaluation = json.loads((base / "evaluate" / CELL / "metrics.json").read_text())
    report = json.loads((base / "structure" / CELL / "metrics.json").read_text())
    removed = json.loads((base / "prune" / CELL / "metrics.json").read_text())
    training = json.loads((base / "train" / CELL / "metrics.json").read_text())
    *_, test = load_data(
        source="embedded", root="data", validation_size=10, train_size=64, test_size=20
    )
    for variant, model in networks.items():
        with torch.no_grad():
            correct = model(as_float(test.images)).argmax(1) == test.labels
        assert evaluation[variant]["clean"]["correct"] == int(correct.sum())
        assert evaluation[variant]["robust"]["total"] == 10
        ledger = load_ledger(base / "evaluate" / CELL / f"{variant}.npz")
        assert ledger["robust_correct"].sum() == evaluation[variant]["robust"]["correct"]
        # Of all test images, not of the attacked ones alone.
        clean = load_ledger(base / "evaluate" / CELL / f"{variant}_clean.npz")
        assert clean["clean_correct"].tolist() == correct.tolist()
        assert clean["indices"].tolist() == test.indices.tolist()
        assert clean["labels"].tolist() == test.labels.tolist()
        alive = [(weight != 0).flatten(1).sum() for weight in model.weights().values()]
        assert report[variant]["connected"] == int(sum(alive))
    assert training["connected"] == report["trained"]["connected"]
    assert removed["removed_total"] == sum(removed["removed"].values())
    assert (
        report["trained"]["connected"] - removed["removed_total"] == (report["pruned"]["connected"])
    )
    assert report["pruned"]["zero_vectors"]["count"] == (
        report["trained"]["zero_vectors"]["count"] + removed["removed_total"]
    )


def test_finished_cells_are_left_alone_and_forced_ones_give_the_same_bytes(finished, capsys):
    manifests = sorted(finished.rglob(MANIFEST))
    before = {path: (sha256(path), path.stat().st_mtime_ns) for path in manifests}
    run_all(finished)
    assert capsys.readouterr().out.count("finished already") == len(STAGES)
    assert before == {path: (sha256(path), path.stat().st_mtime_ns) for path in manifests}
    run_all(finished, "force=true")
    assert {path: sha256(path) for path in manifests} == {p: h for p, (h, _) in before.items()}


def test_a_damaged_or_retrained_input_makes_a_result_stale(finished, tmp_path, capsys):
    output = tmp_path / "copy"
    shutil.copytree(finished, output)
    weights = output / "quick" / "train" / CELL / "weights.safetensors"
    train.run(*small(output, "rewire=l2"))
    assert "finished already" in capsys.readouterr().out
    model, spec = load_network(weights)
    model.theta.data.mul_(0.5)
    save_network(weights, model, spec=spec)
    list_anew(weights)
    prune.run(*small(output, "rewire=l2"))
    assert "removed" in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["prune", "evaluate", "structure"])
def test_missing_truncated_and_foreign_checkpoints(stage, finished, tmp_path):
    run = STAGES[stage].run
    with pytest.raises(InputError, match="missing"):
        run(*small(tmp_path / "empty", "rewire=l2"))
    assert not list((tmp_path / "empty").rglob("*.json"))

    output = tmp_path / "copy"
    shutil.copytree(finished, output)
    shutil.rmtree(output / "quick" / stage)
    weights = output / "quick" / "train" / CELL / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        run(*small(output, "rewire=l2"))
    weights.write_bytes(whole)
    with pytest.raises(InputError, match="of another model"):
        run(*small(output, "rewire=l2", "model.width=0.12"))
    assert not (output / "quick" / stage / CELL).exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("attack.epsilon=0", "epsilon"),
        ("attack.epsilon=-0.1", "epsilon"),
        ("attack.steps=0", "steps"),
        ("attack.restarts=0", "restarts"),
        ("attack.images=21", "attack.images is 21. Allowed: 1 to 20"),
    ],
)
def test_attack_values_out_of_range(override, message, finished):
    with pytest.raises(InputError, match=message):
        evaluate.run(*small(finished, "rewire=l2", "force=true", override))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sparsity=0", "sparsity is 0"),
        ("sparsity=1", "sparsity is 1"),
        ("sparsity=0.9999", "p_init connect"),
        ("trainer.batch_size=1000", "batch_size"),
        ("trainer.precision=fp8", "'fp8'"),
        ("model.width=-1", "model.width is -1"),
        ("data.train_size=0", "train_size"),
        ("data.augmentation=shfit", "augmentation is 'shfit'. Allowed: shift"),
    ],
)
def test_training_values_out_of_range_leave_nothing_behind(override, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train.run(*small(tmp_path, override))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_output_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write to the output folder"):
        train.run(*small(tmp_path / "file" / "below"))


@pytest.mark.parametrize("method", ["lonely", "lonely_inner", "lonely_bn"])
def test_every_way_of_pruning_gives_a_network_that_can_be_judged(method, finished, tmp_path):
    output = tmp_path / "outputs"
    shutil.copytree(finished, output)
    config, _ = small(output, "rewire=l2", f"prune={method}")
    overrides = [f"prune={method}"]
    for stage in (prune, evaluate):
        stage.run(config, overrides)
    cell = f"{CELL}-prune={method}"
    trained, _ = load_network(output / "quick" / "train" / CELL / "weights.safetensors")
    pruned, _ = load_network(output / "quick" / "prune" / cell / "weights.safetensors")
    removed = json.loads((output / "quick" / "prune" / cell / "metrics.json").read_text())
    before, after = trained.weights(), pruned.weights()
    for name, count in removed["removed"].items():
        assert int((before[name] != 0).sum() - (after[name] != 0).sum()) == count
    ends = {name for name in removed["removed"] if name in ("conv1", "dense3")}
    assert removed["removed_total"] > 0
    assert method != "lonely_inner" or not any(removed["removed"][name] for name in ends)
    means = [
        torch.equal(a.running_mean, b.running_mean)
        for a, b in zip(trained.modules(), pruned.modules(), strict=True)
        if isinstance(a, torch.nn.BatchNorm2d)
    ]
    assert not any(means) if method == "lonely_bn" else all(means)
    evaluation = json.loads((output / "quick" / "evaluate" / cell / "metrics.json").read_text())
    assert evaluation["pruned"]["clean"]["total"] == 20


@pytest.mark.parametrize("selection", ["best_validation", "best_test"])
def test_another_epoch_s_network_goes_through_all_stages(selection, finished, tmp_path):
    output = tmp_path / "outputs"
    shutil.copytree(finished, output)
    base = output / "quick"
    # An epoch whose network differs from the last one's.
    path = base / "train" / CELL / f"{selection}.safetensors"
    model, spec = load_network(path)
    model.set_weights({name: weight / 2 for name, weight in model.weights().items()})
    save_network(path, model, spec=spec)
    list_anew(path)
    overrides = [f"selection={selection}"]
    for stage in (prune, evaluate, structure):
        stage.run(small(output, "rewire=l2", *overrides)[0], overrides)
    cell = f"{CELL}-selection={selection}"
    pruned, _ = load_network(base / "prune" / cell / "weights.safetensors")
    halves = model.weights()
    for name, weight in pruned.weights().items():
        assert torch.equal(weight[weight != 0], halves[name][weight != 0])
    *_, test = load_data(
        source="embedded", root="data", validation_size=10, train_size=64, test_size=20
    )
    with torch.no_grad():
        correct = model(as_float(test.images)).argmax(1) == test.labels
    evaluation = json.loads((base / "evaluate" / cell / "metrics.json").read_text())
    assert evaluation["trained"]["clean"]["correct"] == int(correct.sum())
    report = json.loads((base / "structure" / cell / "metrics.json").read_text())
    assert report["trained"]["connected"] == sum(int((w != 0).sum()) for w in halves.values())


def test_tables_hold_what_was_measured_and_nothing_else(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "outputs"
    # The cell of the small run, renamed to one that the thesis has.
    for stage in STAGES:
        target = output / "quick" / stage / "natural-s0.99-l2-seed0"
        shutil.copytree(finished / "quick" / stage / CELL, target)
    config = output / "quick" / "train" / "natural-s0.99-l2-seed0" / "config.yaml"
    config.write_text(config.read_text().replace("sparsity: 0.9\n", "sparsity: 0.99\n"))
    (tmp_path / "params.yaml").write_text(
        "thesis: {cells: [natural-s0.99], rewire: [random, l2], seeds: [0]}"
    )
    tables.run(small(output)[0], [])

    report = json.loads(
        (output / "quick" / "structure" / "natural-s0.99-l2-seed0" / "metrics.json").read_text()
    )
    table = json.loads((output / "tables" / "thesis_table1.json").read_text())
    assert table["profile"] == "quick"
    values = {(cell["row"], cell["column"]): cell for cell in table["cells"]}
    ours = {key: cell["ours"] for key, cell in values.items() if cell["ours"] is not None}
    assert ours == {
        ("99 % natural", "structured"): report["trained"]["zero_vectors"]["percent"],
        ("about 99 % natural, pruned", "structured"): report["pruned"]["zero_vectors"]["percent"],
    }
    assert values["99 % natural", "structured"]["published"] == 7.45
    assert values["99 % natural", "structured"]["verdict"] == "not comparable"
    assert values["99 % natural", "unstructured"]["verdict"] == "not run"
    text = (output / "tables" / "thesis_table1.md").read_text()
    assert "Not comparable" in text
    assert (output / "tables" / "thesis_table3.tex").is_file()
    pictures = sorted(path.name for path in (output / "figures").iterdir())
    assert pictures == [
        "density_natural-s0.99.png",
        "figures_12-14_natural-s0.99_dense1.png",
        "figures_3-5_natural-s0.99_dense2.png",
    ]


def test_tables_need_their_axes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("thesis: {cells: [natural-s0.99]}")
    with pytest.raises(InputError, match=r"params\.yaml"):
        tables.run(small(tmp_path)[0], [])


def test_history_rows_follow_the_network(finished):
    rows = np.genfromtxt(
        finished / "quick" / "train" / CELL / "history.csv", delimiter=",", names=True
    )
    training = json.loads((finished / "quick" / "train" / CELL / "metrics.json").read_text())
    assert rows["epoch"].tolist() == [1, 2]
    assert rows["births"].sum() == training["births"]
    assert rows["connected"][-1] == training["connected"] == training["budget"]
    assert rows["zero_vectors"][-1] == pytest.approx(
        training["structure"]["zero_vectors"]["percent"]
    )
