"""Training of the article: equal to a plain PyTorch loop, and exactly resumable."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.small import typed_with
from torch.nn.modules.module import register_module_forward_pre_hook

from rewire.article.document import ARTICLE
from rewire.data.batches import TrainBatches
from rewire.data.load import load_data
from rewire.errors import DivergedError, InputError
from rewire.evaluation.accuracy import predict_correct
from rewire.models.dense import DenseNetwork, build_dense
from rewire.models.heads import l2_penalty, lq, sce
from rewire.tracking import NullTracker
from rewire.training.dense_module import DenseClassifier, rate_at
from rewire.training.dense_runner import train_dense

DATA = {
    "dataset": "mnist",
    "source": "embedded",
    "root": "data",
    "split": "first",
    "validation_size": 50,
    "train_size": 200,
    "test_size": 60,
}
CONFIG = {
    "data": DATA | {"augmentation": "none"},
    "network": {"name": "ann", "width": 0.02, "dropout": "none"},
    "head": {"name": "lq", "l2": 1e-2},
    "trainer": {
        "phases": [[1e-2, 7], [1e-3, 8]],
        "batch_size": 50,
        "precision": "32-true",
        "device": "cpu",
        "threads": None,
        "checkpoint_every": 5,
        "log_every": 4,
    },
    "seed": 3,
}


def changed(**groups):
    config = copy.deepcopy(CONFIG)
    for name, values in groups.items():
        config[name] = config[name] | values if isinstance(values, dict) else values
    return config


def run(config, folder, report=lambda line: None):
    torch.manual_seed(int(folder.name == "other"))  # must not matter
    return train_dense(
        typed_with(config, document=ARTICLE),
        state_of=config,
        checkpoints=folder,
        tracker=NullTracker(),
        report=report,
    )


def same(first, second):
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run(CONFIG, tmp_path_factory.mktemp("checkpoints"))


def test_it_is_adam_with_the_penalty_in_the_loss(trained):
    training, _, test = load_data(**DATA)
    batches = TrainBatches(training, batch_size=50, seed=3, augmentation="none")
    model = build_dense("ann", width=0.02, seed=3)
    head, optimiser = lq, torch.optim.Adam(model.parameters(), lr=1e-2)
    step = 0
    while step < 15:
        for x, y in batches:
            if step == 15:
                break
            optimiser.param_groups[0]["lr"] = 1e-2 if step < 7 else 1e-3
            loss = head(model(x), y) + l2_penalty(model.parameters(), l2=1e-2)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
    for name, value in model.state_dict().items():
        torch.testing.assert_close(
            trained.model.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name
        )
    correct = predict_correct(trained.model, [(test.images / 255, test.labels)])
    assert trained.metrics.clean.correct == int(correct.sum())
    assert trained.metrics.clean.total == 60
    assert trained.metrics.validation.total == 50


def test_history_has_a_row_per_interval_and_one_at_the_end(trained):
    assert [row["step"] for row in trained.history] == [4, 8, 12, 15]
    assert all(0 < row["train_loss"] < 1 for row in trained.history)
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]
    final = trained.metrics.validation.accuracy
    assert trained.history[-1]["validation_accuracy"] == pytest.approx(final)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_stopped_training_ends_in_the_same_bits(trained, tmp_path, stop_after):
    """Rows come at steps 4, 8, 12; states at 5, 10, 15: the last two stops have one to use."""
    seen = []

    def stop(line):
        seen.append(line)
        if len(seen) == stop_after:
            raise KeyboardInterrupt

    config = changed()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(config, tmp_path, stop)
    lines = []
    again = run(config, tmp_path, lines.append)
    assert same(again.model, trained.model)
    assert again.history == trained.history
    assert again.metrics == trained.metrics
    assert len(lines) == {1: 4, 2: 3, 3: 2}[stop_after]  # what was done was not done again


def test_a_state_of_another_configuration_is_not_used(trained, tmp_path):
    run(changed(head={"l2": 0.0}), tmp_path)
    assert same(run(CONFIG, tmp_path).model, trained.model)


@pytest.mark.parametrize("head", ["lq", "rq", "sce"])
@pytest.mark.parametrize("dropout", ["none", "unit", "dropconnect"])
def test_every_head_and_dropout_learns(head, dropout, tmp_path):
    config = changed(
        head={"name": head, "l2": 0.0},
        network={"dropout": dropout, "width": 0.1},
        trainer={"phases": [[3e-3, 80]], "log_every": 40, "checkpoint_every": 0},
    )
    trained = run(config, tmp_path)
    assert trained.history[1]["train_loss"] < trained.history[0]["train_loss"]
    assert same(run(config, tmp_path.parent / "other").model, trained.model)
    if dropout == "none":
        assert trained.metrics.clean.accuracy > 50  # 60 images, chance is 10 %
    assert list(tmp_path.iterdir()) == []


def test_bf16_stays_close_and_logits_are_float32(tmp_path):
    model = build_dense("ann", width=0.05, seed=0)
    x = torch.rand(20, 784)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(x)
        assert {value.dtype for value in list(model.inputs_of(x).values())[1:]} == {torch.bfloat16}
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, model(x), rtol=0.05, atol=0.02)
    full = run(changed(trainer={"phases": [[1e-3, 30]]}), tmp_path)
    rounded = []

    def watch(module, inputs):
        if isinstance(module, DenseNetwork) and module.training:
            rounded.append(torch.is_autocast_enabled("cpu"))

    with register_module_forward_pre_hook(watch):
        half = run(changed(trainer={"phases": [[1e-3, 30]], "precision": "bf16-mixed"}), tmp_path)
    # The losses may agree in every digit that is kept: that it was bf16 must be seen elsewhere.
    assert rounded == [True] * 30
    assert half.metrics.precision == "bf16-mixed"
    losses = [trained.history[-1]["train_loss"] for trained in (full, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_rates_follow_the_phases():
    phases = [[1e-4, 3], [5e-6, 2]]
    assert [rate_at(phases, step) for step in range(7)] == [1e-4] * 3 + [5e-6] * 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trainer": {"threads": 0}}, "trainer.threads is 0"),
        ({"trainer": {"batch_size": 201}}, "201"),
        ({"head": {"name": "mse"}}, "head.name is 'mse'. Allowed: lq"),
        ({"head": {"name": "sce", "scale": "sum"}}, "unknown option 'head."),
        ({"network": {"name": "cnm"}}, "network.name is '"),
        ({"network": {"width": 0}}, "width is 0"),
        ({"data": {"validation_size": 10_000}}, "10000"),
    ],
)
def test_bad_values_are_refused_before_anything_is_written(change, words, tmp_path):
    with pytest.raises(InputError) as error:
        run(changed(**change), tmp_path)
    assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_training_says_so(tmp_path):
    with pytest.raises(DivergedError, match=r"Allowed: a smaller learning rate in trainer\.phases"):
        run(changed(trainer={"phases": [[1e30, 15]], "checkpoint_every": 0}), tmp_path)


def test_weights_that_the_last_step_ruined_are_no_result(tmp_path, monkeypatch):
    """The losses of all steps were finite; the network after the last one is not."""
    step = torch.optim.Adam.step

    def ruined(self, *args, **kwargs):
        loss = step(self, *args, **kwargs)
        state = next(iter(self.state.values()))
        if int(state["step"]) == 15:
            self.param_groups[0]["params"][-1].data.fill_(float("inf"))
        return loss

    monkeypatch.setattr(torch.optim.Adam, "step", ruined)
    with pytest.raises(DivergedError, match="step 15: the training diverged"):
        run(changed(trainer={"checkpoint_every": 5}), tmp_path)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["global_step"] == 10  # the last good one
    assert all(tensor.isfinite().all() for tensor in state["state_dict"].values())


def test_the_module_takes_images_and_vectors():
    model = build_dense("ann", width=0.02, seed=0)
    module = DenseClassifier(model, loss=sce, l2=0.0, phases=[[1e-3, 1]], seed=0)
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(module(x), model(x.flatten(1)))
