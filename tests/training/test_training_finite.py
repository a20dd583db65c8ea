"""A training that diverges says when, and leaves nothing that a later start would go on from."""

from __future__ import annotations

import pytest
import torch
from helpers.fake_gpu import NoWaiting
from helpers.small import SMALL
from helpers.small import run as command
from training.test_training_runner import assert_equal, changed, run

from rewire.errors import InputError
from rewire.models.factory import build_model
from rewire.training.finite import Finite
from rewire.training.module import SparseClassifier

WHEN = r"in epoch \d, step \d: the training diverged\. Allowed: a smaller trainer\.lr"


@pytest.mark.parametrize("lr", [1e30, 1e40])
@pytest.mark.parametrize("rewire", ["random", "vector", "static"])
def test_too_large_a_rate_ends_with_an_error_every_time(tmp_path, lr, rewire):
    config = changed(trainer_lr=lr, rewire_name=rewire)
    said = []
    for _ in range(2):
        with pytest.raises(InputError, match=WHEN) as error:
            run(config, tmp_path, report=said.append)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert len(said) == 2  # no epoch came to its end
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_the_last_good_state_stays_and_is_gone_on_from(tmp_path, monkeypatch):
    step = SparseClassifier.training_step

    def broken(self, batch, batch_index):
        loss = step(self, batch, batch_index)
        if self.global_step == 4:
            self.latest["loss"] = loss.detach() * float("nan")
        return loss

    with monkeypatch.context() as fault:
        fault.setattr(SparseClassifier, "training_step", broken)
        with pytest.raises(InputError, match=r"the loss is nan in epoch 2, step 5"):
            run(changed(), tmp_path / "parts")
    lines = []
    resumed = run(changed(), tmp_path / "parts", report=lines.append)
    assert [line.split()[1] for line in lines] == ["2/3", "3/3"]
    assert_equal(resumed, run(changed(), tmp_path / "whole"))


class Training:
    """A trainer and a module in one, as far as the callback looks at them."""

    def __init__(self, every):
        self.model = build_model("vgg11", width=0.05, sparsity=0.9, seed=0)
        self.callback, self.global_step, self.current_epoch = Finite(every=every), 0, 2
        self.callback_metrics = {}
        self.callback.on_train_epoch_start(self, self)

    def steps(self, *losses):
        for loss in losses:
            self.global_step += 1
            self.latest = {"loss": torch.tensor(loss)}
            self.callback.on_train_batch_end(self, self)

    def end(self):
        self.callback.on_train_epoch_end(self, self)


def test_between_two_looks_nothing_waits_and_the_first_bad_step_is_named():
    training = Training(every=4)
    with NoWaiting():
        training.steps(1.0, 2.0, 3.0)
    training.steps(4.0)
    with NoWaiting():
        training.steps(5.0, float("inf"), float("nan"))
    with pytest.raises(InputError, match=r"the loss is inf in epoch 3, step 6"):
        training.steps(1.0)


def test_the_end_of_an_epoch_is_a_look_too():
    training = Training(every=4)
    training.steps(1.0, float("nan"))
    with pytest.raises(InputError, match=r"the loss is nan in epoch 3, step 2"):
        training.end()


def test_what_an_epoch_leaves_behind_is_looked_at():
    training = Training(every=2)
    training.steps(1.0, 2.0)
    training.end()
    training.model.theta.data[7] = float("nan")
    training.steps(1.0)
    with pytest.raises(InputError, match="weights are not finite in epoch 3, step 4"):
        training.steps(1.0)
    training = Training(every=2)
    training.model.body.norm3.running_var[1] = float("inf")
    with pytest.raises(InputError, match=r"body\.norm3\.running_var is not finite in epoch 3"):
        training.end()
    training = Training(every=2)
    training.callback_metrics["validation/loss"] = torch.tensor(float("nan"))
    with pytest.raises(InputError, match="the validation loss is nan in epoch 3"):
        training.end()


def test_the_command_line_leaves_no_finished_cell(tmp_path):
    done = command("train.py", *SMALL, "sparsity=0.9", "trainer.lr=1e30", f"output={tmp_path}")
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "the training diverged" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("manifest.json"))
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not list(tmp_path.rglob("*.safetensors"))
