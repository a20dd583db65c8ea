"""Networks of the best epochs: which one is kept, and what baselines train."""

from __future__ import annotations

import pytest
import torch
from training.test_training_runner import changed, run

from rewire.attacks.judge import is_correct, predict_logits
from rewire.data.images import as_float
from rewire.data.load import load_data
from rewire.evaluation.statistics import Accuracy
from rewire.models.artifact import load_network, network_tensors, save_network
from rewire.models.factory import build_model
from rewire.registry import OBJECTIVES
from rewire.training.module import SparseClassifier
from rewire.training.runner import count_correct
from rewire.training.selection import BEST_TEST, BEST_VALIDATION, Selections

SPEC = {"name": "vgg11", "width": 0.08, "classes": 10, "image_size": 32}


class Script:
    """A trainer and a module whose accuracies follow a script."""

    def __init__(self, validation, test):
        self.validation, self.test, self.current_epoch = validation, test, 0
        self.model = build_model(**SPEC, sparsity=0.9, seed=0)
        self.counted = 0

    @property
    def callback_metrics(self):
        value = self.validation[self.current_epoch]
        return {} if value is None else {"validation/accuracy": torch.tensor(value)}

    def count(self, model):
        self.counted += 1
        return Accuracy.counted(self.test[self.current_epoch], 200)

    def play(self, names):
        selections = Selections(names, count=self.count)
        networks = []
        for epoch in range(len(self.test)):
            self.current_epoch = epoch
            self.model.body.dense3.bias.data += 1  # so that epochs differ
            networks.append(network_tensors(self.model))
            selections.on_train_epoch_end(self, self)
        return selections, networks


def test_the_first_of_the_best_epochs_is_kept():
    script = Script(validation=[40.0, 60.0, 60.0, 50.0], test=[80, 100, 130, 130])
    selections, networks = script.play((BEST_VALIDATION, BEST_TEST))
    kept = {name: (k.epoch, k.correct, k.total) for name, k in selections.best.items()}
    assert kept == {BEST_VALIDATION: (2, 100, 200), BEST_TEST: (3, 130, 200)}
    for name, epoch in ((BEST_VALIDATION, 2), (BEST_TEST, 3)):
        tensors = selections.tensors()[name]
        assert torch.equal(
            tensors["dense.body.dense3.bias"], networks[epoch - 1]["dense.body.dense3.bias"]
        )
    assert selections.row == {"test_accuracy": 65.0}


def test_equal_counts_are_equal_whichever_batches_hold_them():
    def accuracy(*counts):  # as Lightning takes it, of batches of 500
        total = torch.tensor(0.0)
        for count in counts:
            total += 100 * (torch.arange(500) < count).float().mean() * 500
        return float(total / 1000)

    every = {accuracy(count, 891 - count) for count in range(426, 466)}
    first, later = min(every), max(every)
    assert 0 < later - first < 1e-4
    script = Script(validation=[first, later], test=[80, 100])
    assert script.play((BEST_VALIDATION,))[0].best[BEST_VALIDATION].epoch == 1


def test_test_images_are_looked_at_only_where_they_must_be():
    script = Script(validation=[40.0, 30.0, 20.0], test=[80, 100, 130])
    selections, _ = script.play((BEST_VALIDATION,))
    assert script.counted == 1
    assert selections.row == {}
    script = Script(validation=[None], test=[80])
    assert script.play((BEST_VALIDATION,))[0].best == {}
    assert script.counted == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selection")
    return folder, run(changed(), folder)


def test_a_kept_network_has_the_accuracy_that_is_reported_for_it(trained):
    folder, result = trained
    metrics = result.metrics.selections
    assert metrics["last"].clean == result.metrics.clean
    by_test = [row["test_accuracy"] for row in result.history]
    assert metrics[BEST_TEST].epoch == 1 + by_test.index(max(by_test))
    by_validation = [row["validation_accuracy"] for row in result.history]
    assert metrics[BEST_VALIDATION].epoch == 1 + by_validation.index(max(by_validation))
    assert by_test[-1] == result.metrics.clean.accuracy
    data = {k: v for k, v in changed()["data"].items() if k != "augmentation"}
    for name, tensors in result.selected.items():
        save_network(folder / f"{name}.safetensors", tensors, spec=SPEC)
        model, _ = load_network(folder / f"{name}.safetensors")
        test = load_data(**data)[2]
        assert count_correct(model, test, torch.device("cpu")) == metrics[name].clean


def test_held_out_images_are_judged_in_float32_whatever_the_training_computes_in(monkeypatch):
    module = SparseClassifier(
        build_model(**SPEC, sparsity=0.9, seed=0), objective=OBJECTIVES["natural"], lr=0.1,
        momentum=0.9, weight_decay=0.0, seed=0,
    )  # fmt: skip
    module.eval()
    *_, test = load_data(source="embedded", root="data", validation_size=20, test_size=40)
    x, y = as_float(test.images), test.labels
    logged = {}
    monkeypatch.setattr(module, "log_dict", lambda values, **options: logged.update(values))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        module.validation_step((x, y), 0)
        assert module.model(x).dtype == torch.bfloat16  # as a training step computes
    logits = predict_logits(module.model, x, batch_size=len(x))
    assert torch.equal(logged["validation/loss"], torch.nn.functional.cross_entropy(logits, y))
    assert logged["validation/accuracy"] == 100 * is_correct(logits, y).float().mean()


def test_keeping_networks_changes_no_training(tmp_path, trained):
    plain = run(changed(trainer_selections=[]), tmp_path)
    assert plain.selected == {}
    assert list(plain.metrics.selections) == ["last"]
    assert torch.equal(plain.model.theta, trained[1].model.theta)
    assert "test_accuracy" not in plain.history[0]


@pytest.mark.parametrize(("name", "sparsity"), [("static", 0.9), ("dense", 0)])
def test_baselines_train_with_a_connectivity_that_never_changes(tmp_path, name, sparsity):
    config = changed(rewire_name=name, sparsity=sparsity)
    start = build_model(**config["model"], sparsity=sparsity, seed=0, connectivity=name)
    result = run(config, tmp_path)
    assert torch.equal(result.model.mask, start.mask)
    assert not torch.equal(result.model.flat_weights(), start.flat_weights())
    metrics = result.metrics
    assert metrics.connected == metrics.budget == int(start.mask.sum())
    assert (metrics.growth, metrics.surplus_steps) == (0, 0)
    assert [row["births"] for row in result.history] == [0, 0, 0]
    assert [row["connected"] for row in result.history] == [metrics.budget] * 3
