"""One training from a plain configuration: exact resume, results, and errors before any file."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import signal

import pytest
import torch
from helpers.small import typed_with

from rewire.connectivity.sampling import ConnectivityError
from rewire.data.batches import EvalBatches
from rewire.data.load import load_data
from rewire.errors import InputError
from rewire.evaluation.statistics import Accuracy
from rewire.models.layout import connection_budget, total_size
from rewire.registry import STRATEGIES
from rewire.tracking import NullTracker
from rewire.training.checkpoint import AtomicCheckpoints
from rewire.training.runner import Trained, train

CONFIG = {
    "data": {
        "source": "embedded",
        "root": "data",
        "validation_size": 20,
        "train_size": 48,
        "test_size": 30,
        "augmentation": "shift",
    },
    "model": {
        "name": "vgg11",
        "width": 0.08,
        "classes": 10,
        "image_size": 32,
        "p_init_first": [0.6, 0.2],
        "p_init_last": [0.6],
        "p_init_factor": 0.5,
    },
    "objective": {"name": "natural"},
    "rewire": {"name": "random"},
    "trainer": {
        "epochs": 3,
        "batch_size": 16,
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "precision": "32-true",
        "device": "cpu",
        "threads": None,
        "check": False,
        "checkpoint_every": 1,
        "selections": ["best_validation", "best_test"],
        "log_every": 50,
    },
    "sparsity": 0.9,
    "seed": 0,
}
TRADES = {"name": "trades", "epsilon": 8 / 255, "step_size": 4 / 255, "steps": 2, "beta": 6.0}


def changed(**values):
    """CONFIG with some values replaced: group_key=value, or seed, sparsity, a whole group."""
    config = copy.deepcopy(CONFIG)
    for name, value in values.items():
        group, _, key = name.partition("_")
        if key and group in config:
            config[group][key] = value
        else:
            config[name] = value
    return config


def run(config, folder, *, report=lambda line: None, global_seed=0):
    torch.manual_seed(global_seed)  # must not matter
    return train(
        typed_with({key: value for key, value in config.items() if key != "code"}),
        state_of=config,
        checkpoints=folder,
        tracker=NullTracker(),
        report=report,
    )


def assert_equal(first: Trained, second: Trained):
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert first.metrics == second.metrics
    assert first.history == second.history
    assert first.selected.keys() == second.selected.keys()
    for name, tensors in first.selected.items():
        assert tensors.keys() == second.selected[name].keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, second.selected[name][key]), (name, key)


class Stop:
    """A report function that raises before the checkpoint of epoch `epoch` is written."""

    def __init__(self, epoch, error):
        self.prefix, self.error, self.lines = f"epoch {epoch}/", error, []

    def __call__(self, line):
        self.lines.append(line)
        if line.startswith(self.prefix):
            raise self.error


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(CONFIG, tmp_path_factory.mktemp("uninterrupted"))


@pytest.fixture
def keyboard():
    """Lightning ignores further Ctrl+C after the first; the test run must not."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("keyboard")
@pytest.mark.parametrize(
    ("error", "seen"),
    [(RuntimeError("power cut"), RuntimeError), (KeyboardInterrupt(), SystemExit)],
)
def test_resumed_training_equals_the_uninterrupted_one(tmp_path, uninterrupted, error, seen):
    stop = Stop(2, error)
    with pytest.raises(seen):
        run(CONFIG, tmp_path, report=stop, global_seed=1)
    assert len(stop.lines) == 2
    lines = []
    resumed = run(CONFIG, tmp_path, report=lines.append, global_seed=2)
    assert [line.split()[1] for line in lines] == ["2/3", "3/3"]
    assert_equal(resumed, uninterrupted)
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]


def test_adversarial_training_with_neighbours_resumes_exactly(tmp_path):
    config = changed(objective=TRADES, rewire_name="weighted", trainer_epochs=2)
    whole = run(config, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        run(config, tmp_path / "parts", report=Stop(2, RuntimeError("power cut")), global_seed=1)
    assert_equal(run(config, tmp_path / "parts", global_seed=2), whole)


def test_checked_training_is_the_same_and_notices_a_defect(tmp_path, uninterrupted, monkeypatch):
    checked = run(changed(trainer_check=True), tmp_path / "checked")
    assert_equal(checked, uninterrupted)

    def forgetful(theta, layers, demands, **options):
        born = random(theta, layers, demands, **options)
        theta[theta.argmax()] = 0  # a connection is lost
        return born

    random = STRATEGIES["random"]
    monkeypatch.setitem(STRATEGIES._entries, "random", forgetful)
    with pytest.raises(ConnectivityError, match=r"step 1, layer \w+: .*re-connection took"):
        run(changed(trainer_check=True), tmp_path / "defect")


@pytest.mark.parametrize("before", [{}, {"trainer_lr": 0.2}], ids=["of this", "of another"])
def test_a_damaged_state_is_said_and_not_used(tmp_path, uninterrupted, capsys, before):
    with pytest.raises(RuntimeError, match="power cut"):
        run(changed(**before), tmp_path, report=Stop(3, RuntimeError("power cut")))
    state = tmp_path / "last.ckpt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    assert_equal(run(CONFIG, tmp_path), uninterrupted)
    assert "last.ckpt' is damaged: the training starts anew" in capsys.readouterr().out
    assert not list(tmp_path.glob("aside-*"))


CODE = {"training/runner.py": "1", "rng.py": "1"}


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        ({"code": CODE}, {"code": CODE | {"rng.py": "2"}}, "other code (rng.py)"),
        ({}, {"code": CODE}, "code that is not recorded"),
        (
            {"code": CODE, "trainer_lr": 0.2},
            {"code": CODE},
            "another configuration (trainer.lr was 0.2, is 0.1)",
        ),
    ],
)
def test_a_state_of_something_else_is_set_aside_and_found_again(
    tmp_path, uninterrupted, capsys, before, now, why
):
    other = changed(**before)
    with pytest.raises(RuntimeError, match="power cut"):
        run(other, tmp_path, report=Stop(2, RuntimeError("power cut")))
    lines = []
    assert_equal(run(changed(**now), tmp_path, report=lines.append), uninterrupted)
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    (aside,) = tmp_path.glob("aside-*")
    said = capsys.readouterr().out
    assert f"last.ckpt' is of {why} and is set aside in '{aside}': the training starts anew" in said
    lines.clear()
    run(other, tmp_path, report=lines.append)
    assert [line.split()[1] for line in lines] == ["2/3", "3/3"]
    assert f"the training goes on from the state in '{aside}'" in capsys.readouterr().out


def test_a_state_of_nobody_knows_what_is_deleted(tmp_path, uninterrupted, capsys):
    with pytest.raises(RuntimeError, match="power cut"):
        run(CONFIG, tmp_path, report=Stop(2, RuntimeError("power cut")))
    (tmp_path / "config.json").write_text("{")
    assert_equal(run(CONFIG, tmp_path), uninterrupted)
    why = "of a configuration that is not recorded: the training starts anew"
    assert why in capsys.readouterr().out
    assert not list(tmp_path.glob("aside-*"))


def test_where_data_lie_and_how_it_is_computed_discard_no_state(tmp_path, uninterrupted, capsys):
    with pytest.raises(RuntimeError, match="power cut"):
        run(CONFIG, tmp_path, report=Stop(2, RuntimeError("power cut")))
    lines = []
    other = changed(data_root="elsewhere", trainer_threads=1, trainer_check=True)
    assert_equal(run(other, tmp_path, report=lines.append), uninterrupted)
    assert [line.split()[1] for line in lines] == ["2/3", "3/3"]
    assert capsys.readouterr().out == ""


def test_a_full_disk_leaves_the_last_whole_state(tmp_path, uninterrupted, monkeypatch):
    lines = []

    def full(handle):
        if len(lines) == 2:  # epochs
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        with pytest.raises(InputError, match=r"cannot write the training state .*No space left"):
            run(CONFIG, tmp_path, report=lines.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "last.ckpt"]
    lines.clear()
    assert_equal(run(CONFIG, tmp_path, report=lines.append), uninterrupted)
    assert [line.split()[1] for line in lines] == ["2/3", "3/3"]


def test_a_state_can_hold_no_code(tmp_path):
    class Code:
        def __reduce__(self):
            return (print, ("run",))

    AtomicCheckpoints().save_checkpoint({"state": Code()}, tmp_path / "last.ckpt")
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        AtomicCheckpoints().load_checkpoint(tmp_path / "last.ckpt")


def test_a_training_that_was_stopped_after_its_last_epoch_gives_its_result(tmp_path, uninterrupted):
    # E.g. stopped while the test images were classified, or run again by force.
    run(CONFIG, tmp_path)
    lines = []
    again = run(CONFIG, tmp_path, report=lines.append)
    assert_equal(again, uninterrupted)
    assert lines == []  # nothing was trained again


@pytest.mark.parametrize("change", [{"seed": 1}, {"trainer_lr": 0.05}, {"trainer_epochs": 2}])
def test_another_configuration_starts_afresh(tmp_path, uninterrupted, change):
    with pytest.raises(RuntimeError, match="power cut"):
        run(changed(**change), tmp_path, report=Stop(2, RuntimeError("power cut")))
    lines = []
    fresh = run(CONFIG, tmp_path, report=lines.append)
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    assert_equal(fresh, uninterrupted)


def test_result_describes_the_network_after_the_last_epoch(uninterrupted):
    metrics, model = uninterrupted.metrics, uninterrupted.model
    total = total_size(model.layers)
    connected = int((model.theta > 0).sum())
    assert metrics.budget == connection_budget(total, 0.9) == total // 10
    assert metrics.connected == connected == uninterrupted.history[-1]["connected"]
    assert metrics.growth == sum(row["births"] for row in uninterrupted.history)
    assert metrics.steps == 9
    assert not any(module.training for module in model.modules())

    data = {k: v for k, v in CONFIG["data"].items() if k != "augmentation"}
    test = load_data(**data)[2]
    with torch.no_grad():
        correct = sum(
            int((model(x).argmax(1) == y).sum()) for x, y, _ in EvalBatches(test, batch_size=7)
        )
    assert metrics.clean == Accuracy.counted(correct, 30)


def test_without_checkpoints_nothing_is_written(tmp_path, monkeypatch, uninterrupted):
    monkeypatch.chdir(tmp_path)
    result = run(changed(trainer_checkpoint_every=0), tmp_path / "checkpoints")
    assert list(tmp_path.iterdir()) == []
    assert_equal(result, uninterrupted)


def test_training_without_validation_images(tmp_path):
    result = run(changed(data_validation_size=0, trainer_epochs=1), tmp_path)
    assert "validation_accuracy" not in result.history[0]
    assert result.metrics.steps == 3


def test_bf16_training_keeps_float32_parameters(tmp_path):
    result = run(changed(trainer_precision="bf16-mixed", trainer_epochs=1), tmp_path)
    assert result.metrics.precision == "bf16-mixed"
    assert result.model.theta.dtype == torch.float32
    assert result.metrics.connected >= result.metrics.budget
    assert result.history[0]["train_loss"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainer_device": "tpu"}, r"trainer\.device is 'tpu'\. Allowed: auto, cpu, cuda"),
        ({"trainer_precision": "16"}, r"trainer\.precision is '16'\. Allowed: auto"),
        ({"trainer_batch_size": 0}, "batch_size"),
        ({"trainer_batch_size": 1000}, "batch_size"),
        ({"rewire_name": "randm"}, r"rewire\.name is 'randm'\. Allowed: dense, gathered, l2"),
        ({"rewire": {"name": "l2", "metric": "l1"}}, "metric is 'l1'"),
        ({"rewire": {"name": "weighted", "ties": "last"}}, "ties is 'last'"),
        ({"rewire": {"name": "vector", "gamma": -1}}, "gamma is -1"),
        ({"objective_name": "trade"}, r"objective\.name is 'trade'\. Allowed: at, mart"),
        ({"objective": TRADES | {"beta": -1}}, "beta"),
        ({"objective": TRADES | {"bta": 6}}, r"unknown option 'objective\.bta'"),
        ({"data_augmentation": "flip"}, r"data\.augmentation is 'flip'\. Allowed: shift"),
        ({"data_train_size": 0}, r"data\.train_size"),
        ({"model_name": "vgg12"}, r"model\.name is 'vgg12'\. Allowed: resnet18"),
        ({"model_width": 0}, r"model\.width is 0"),
        ({"sparsity": 1.0}, r"sparsity is 1\.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unusable_values_are_refused_before_any_file_is_written(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        run(changed(**change), tmp_path / "checkpoints")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot write to the output folder '.*file/folder'"):
        run(CONFIG, tmp_path / "file" / "folder")
