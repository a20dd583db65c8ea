from __future__ import annotations

import pytest
import torch
from helpers.toys_attacked import EPSILON, NoWaiting, conv_net, images, trained
from torch.nn import functional as F

from rewire.attacks.training import mart_attack, normal_start, pgd_train, trades_attack
from rewire.rng import generator

BUDGET = {"epsilon": EPSILON, "step_size": EPSILON / 4, "steps": 5}


@pytest.fixture(scope="module")
def data():
    return images(48, seed=9)


def run(name, model, x, y, *, source, **budget):
    if name == "trades":
        return trades_attack(model, x, generator=source, **budget)
    attack = {"pgd": pgd_train, "mart": mart_attack}[name]
    return attack(model, x, y, generator=source, **budget)


def plain(name, model, x, y, *, source, epsilon, step_size, steps):
    """The same attacks by `backward`, one formula after the other."""
    if name == "pgd":
        u = torch.rand(x.shape, generator=source).double()
        point = (x + epsilon * (2 * u - 1)).clamp(0, 1)
    else:
        point = x + 0.001 * torch.randn(x.shape, generator=source).double()
    p = model(x).softmax(1).detach()
    for _ in range(steps):
        point = point.detach().requires_grad_()
        logits = model(point)
        if name == "trades":
            q = logits.softmax(1)
            loss = (p * (p.log() - q.log())).sum()
        else:
            loss = -logits.softmax(1).log()[torch.arange(len(y)), y].sum()
        loss.backward()
        moved = point.detach() + step_size * point.grad.sign()
        point = (x + (moved - x).clamp(-epsilon, epsilon)).clamp(0, 1)
    return point


@pytest.mark.parametrize("name", ["pgd", "trades", "mart"])
def test_equals_a_float64_attack(data, name):
    x, y = data
    x = x.double()
    model = conv_net()
    model.load_state_dict(trained().state_dict())
    model.double().eval()
    found = run(name, model, x, y, source=generator(0, "test"), **BUDGET)
    expected = plain(name, model, x, y, source=generator(0, "test"), **BUDGET)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert (found - x).abs().max() <= EPSILON + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found - x).abs().mean() > EPSILON / 4


@pytest.mark.parametrize("name", ["pgd", "trades", "mart"])
def test_attacks_raise_the_loss_and_leave_the_model_alone(data, name):
    x, y = data
    model = conv_net()
    model.load_state_dict(trained().state_dict())
    model.train()
    model[1].eval()
    before = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        x_adv = run(name, model, x, y, source=generator(0, "test"), **BUDGET)
    assert not x_adv.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [module.training for module in model.modules()] == before
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    model.eval()
    assert F.cross_entropy(model(x_adv), y) > F.cross_entropy(model(x), y) + 0.3


@pytest.mark.parametrize("name", ["pgd", "trades", "mart"])
def test_the_generator_decides_the_start(data, name):
    x, y = data
    runs = [
        run(name, trained(), x, y, source=generator(seed, "test"), **{**BUDGET, "steps": 1})
        for seed in (0, 0, 1)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_the_normal_start_is_not_clipped():
    x = torch.zeros(50, 3, 8, 8)
    delta = normal_start(x, generator=generator(0, "test"))
    assert delta.min() < 0
    assert delta.std().item() == pytest.approx(0.001, rel=0.05)


def test_the_detector_of_waits_works():
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoWaiting():
        torch.ones(3).sum().item()


@pytest.mark.parametrize("name", ["pgd", "trades", "mart"])
def test_training_attacks_never_wait_for_the_device(data, name):
    x, y = data
    with NoWaiting():
        x_adv = run(name, conv_net(), x, y, source=generator(0, "test"), **BUDGET)
    assert x_adv.shape == x.shape
