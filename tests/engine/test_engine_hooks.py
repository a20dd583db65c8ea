"""Hooks: called, or refused by name, never passed over in silence."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.toys_engine import seeded
from torch import nn

from rewire.engine import Inference
from rewire.engine.choice import set_engine
from rewire.engine.network import use_engine
from rewire.errors import InputError
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.rng import generator


@pytest.fixture
def model():
    body = nn.Sequential(
        *(SparseConv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Sequential(SparseConv2d(6, 4, 3, padding=1), nn.ReLU()), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), SparseLinear(4, 10)),
    )
    return SparseNetwork(body, p_init=[0.2] * 3, generator=generator(0, "test"))


@pytest.fixture
def x():
    return torch.rand(4, 3, 8, 8, generator=seeded(0))


KINDS = {
    "forward-pre-hook": nn.Module.register_forward_pre_hook,
    "forward-hook": nn.Module.register_forward_hook,
    "backward-pre-hook": nn.Module.register_full_backward_pre_hook,
    "backward-hook": nn.Module.register_full_backward_hook,
}
MODULES = ["", "0", "1", "2", "3", "4", "4.0", "4.1", "5", "7"]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_inside_is_refused_by_name(engine, model, x, kind, name):
    use_engine(model)
    model(x)
    hook = KINDS[kind](model.body.get_submodule(name), lambda *_: None)
    said = f"cannot follow '{name or 'Sequential'}': it has a {kind}, "
    for passes in (lambda: model(x), lambda: use_engine(model), lambda: Inference(model)):
        with pytest.raises(InputError, match=said):
            passes()
    hook.remove()
    model(x)


def test_where_the_engine_chooses_itself_a_hooked_network_is_dense(
    engine, model, x, capsys, monkeypatch
):
    monkeypatch.setattr("rewire.engine.choice._said", set())
    seen = []
    model.body[4][0].register_forward_hook(lambda *given: seen.append(given))
    assert set_engine("auto", model, torch.device("cpu"), share=0.01) == "dense"
    assert "'4.0': it has a forward-hook" in capsys.readouterr().out
    model(x)
    assert len(seen) == 1


def test_passes_by_modules_call_it(engine, model, x):
    use_engine(model)
    seen = []
    model.body[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with model.by_modules():
        model(x)
    assert seen[0].shape == (4, 6, 8, 8)


def test_a_hook_of_the_whole_network_is_called(engine, model, x):
    use_engine(model)
    seen = []
    model.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = model(x)
    assert len(seen) == 1
    assert seen[0] is logits


def test_a_hooked_network_can_be_copied(engine, model, x):
    use_engine(model)
    hook = model.body[0].register_forward_hook(lambda *_: None)
    copied = copy.deepcopy(model)
    hook.remove()
    model(x)
    with pytest.raises(InputError, match="'0': it has a forward-hook"):
        copied(x)
