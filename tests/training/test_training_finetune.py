"""Training on after pruning: against a loop over plain PyTorch layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.small import typed_of
from torch import nn
from torch.nn import functional as F

from rewire.data.batches import TrainBatches
from rewire.data.load import load_images
from rewire.models.factory import build_model
from rewire.models.plain import as_plain
from rewire.pruning.settings import Finetune
from rewire.tracking import NullTracker
from rewire.training.finetune import finetune

OPTIONS = (
    *("model.width=0.1", "data.train_size=120", "data.test_size=20", "data.validation_size=0"),
    *("trainer.batch_size=40", "trainer.device=cpu", "sparsity=0.9", "data.augmentation=none"),
    *("trainer.weight_decay=0.01", "trainer.precision=32-true", "trainer.checkpoint_every=1"),
)


@pytest.fixture(scope="module")
def pruned():
    model = build_model("vgg11", width=0.1, sparsity=0.9, seed=3)
    weights = model.weights()
    for weight in weights.values():
        weight[..., ::3] = 0
    model.set_weights(weights)
    return model.eval()  # as one that was loaded


def tuned(pruned, folder, *, epochs, options=OPTIONS, state="a"):
    return finetune(
        pruned,
        typed_of(*options),
        Finetune(epochs=epochs, lr=0.02),
        state_of={"state": state},
        checkpoints=folder,
        tracker=NullTracker(),
        report=lambda line: None,
    )


def by_hand(pruned, *, epochs):
    """The same with dense layers: masked gradients, momentum, decay, and rates that drop."""
    config = typed_of(*OPTIONS)
    plain = as_plain(pruned).train().requires_grad_(True)
    training, _, _ = load_images(config.data)
    batches = TrainBatches(
        training,
        batch_size=40,
        seed=0,
        augmentation=config.data.augmentation,
        device=torch.device("cpu"),
        channels_last=True,
    )
    parameters = list(plain.parameters())
    masks = {
        id(layer.weight): layer.weight.detach() != 0
        for layer in plain.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    velocity = [torch.zeros_like(p) for p in parameters]
    total, step = 3 * epochs, 0
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        for x, y in batches:
            factor = 1 if step <= int(0.5 * total) else 0.1 if step <= int(0.75 * total) else 0.01
            loss = F.cross_entropy(plain(x), y)
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for p, v, g in zip(parameters, velocity, gradients, strict=True):
                    own = g * masks.get(id(p), 1)
                    v.mul_(config.trainer.momentum).sub_(0.02 * factor * own)
                    decay = 0.01 * 0.02 / config.trainer.lr * factor
                    p.mul_(1 - decay).add_(v)
            step += 1
    return plain


@pytest.mark.parametrize("engine", ["dense", "auto"])
def test_it_equals_a_loop_over_plain_layers(pruned, tmp_path, engine):
    before = {name: weight.clone() for name, weight in pruned.weights().items()}
    result = tuned(pruned, tmp_path, epochs=2, options=(*OPTIONS, f"trainer.engine={engine}"))
    plain = by_hand(pruned, epochs=2)
    for layer in result.model.layers:
        got = layer.as_weight(layer.of(result.model.flat_weights()))
        expected = plain.get_submodule(layer.name).weight.detach()
        torch.testing.assert_close(got, expected, rtol=2e-3, atol=2e-5)
    for name, weight in result.model.weights().items():
        np.testing.assert_array_equal((weight != 0).numpy(), (before[name] != 0).numpy())
        assert not torch.equal(weight, before[name])
        assert torch.equal(pruned.weights()[name], before[name])  # the given one is not changed
    assert result.metrics.growth == 0
    assert result.metrics.budget == result.metrics.connected == len(pruned.connected())


def test_a_weight_may_change_its_sign(tmp_path):
    model = build_model("vgg11", width=0.1, sparsity=0.9, seed=3)
    model.set_weights(
        {n: (1e-6 if n == "dense3" else 1) * weight for n, weight in model.weights().items()}
    )
    after = tuned(model, tmp_path, epochs=2).model.flat_weights()
    before = model.flat_weights()
    assert ((before * after) < 0).any()


def test_a_stopped_one_goes_on_and_gives_the_same_bits(pruned, tmp_path):
    whole = tuned(pruned, tmp_path / "whole", epochs=2).model

    class StopError(Exception):
        pass

    def stop(line):
        if line.startswith("epoch 2"):
            raise StopError

    with pytest.raises(StopError):
        finetune(
            pruned,
            typed_of(*OPTIONS),
            Finetune(epochs=2, lr=0.02),
            state_of={"state": "a"},
            checkpoints=tmp_path / "stopped",
            tracker=NullTracker(),
            report=stop,
        )
    assert (tmp_path / "stopped" / "last.ckpt").is_file()
    resumed = tuned(pruned, tmp_path / "stopped", epochs=2).model
    assert torch.equal(resumed.flat_weights(), whole.flat_weights())
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
