"""Our PGD against the PGD of two other libraries."""

from __future__ import annotations

import sys

import pytest
import torch
from helpers.toys_attacked import EPSILON, conv_net, images, trained
from torch.nn import functional as F

from benchmarks.foolbox_pgd import foolbox_pgd
from rewire.attacks.adapters.torchattacks_adapter import torchattacks_pgd
from rewire.attacks.judge import judge
from rewire.attacks.pgd import PGD
from rewire.attacks.training import pgd_linf, summed_cross_entropy
from rewire.errors import InputError

LIBRARIES = [torchattacks_pgd, foolbox_pgd]
COUNT, STEPS, RESTARTS = 200, 20, 4


@pytest.fixture(scope="module")
def data():
    return images(COUNT, seed=3)


@pytest.fixture(scope="module")
def ours(data):
    x, y = data
    attack = PGD(EPSILON, steps=STEPS, restarts=RESTARTS, batch_size=64)
    return attack.attack(trained(), x, y, indices=torch.arange(COUNT))


@pytest.mark.parametrize("library", LIBRARIES)
def test_robust_accuracy_agrees(data, ours, library):
    x, y = data
    theirs = torch.ones(COUNT, dtype=torch.bool)
    for seed in range(RESTARTS):
        x_adv = library(
            trained(),
            x,
            y,
            epsilon=EPSILON,
            step_size=2.5 * EPSILON / STEPS,
            steps=STEPS,
            seed=seed,
        )
        theirs &= judge(trained(), x_adv, x, y, epsilon=EPSILON, batch_size=64)
    count, their_count = int(ours.correct.sum()), int(theirs.sum())
    assert 0.2 * COUNT < count < 0.8 * COUNT
    assert count <= their_count + 2
    assert abs(count - their_count) <= 2


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_same_start_gives_the_same_adversarials(data, library, random_start, steps):
    x, y = data
    budget = {"epsilon": EPSILON, "step_size": EPSILON / 4, "steps": steps}
    start = x
    if random_start:
        # Both libraries draw epsilon·U(-1, 1) from the global generator.
        uniform = torch.rand(x.shape, generator=torch.Generator().manual_seed(11))
        start = (x + (uniform * 2 * EPSILON - EPSILON)).clamp(0, 1)
    mine = pgd_linf(summed_cross_entropy(trained(), y), x, start, **budget)
    theirs = library(trained(), x, y, seed=11, random_start=random_start, **budget)
    # Up to the rounding of the start, except where a gradient of nearly zero changes its sign.
    differ = (mine - theirs).abs() > 1e-6
    assert differ.float().mean() < 1e-4
    assert (mine - x).abs().mean() > EPSILON / 8


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_leave_global_state_and_modes_alone(data, library):
    x, y = data
    model = conv_net()
    model[1].eval()
    before = [module.training for module in model.modules()]
    statistics = model[1].running_mean.clone()
    state = torch.get_rng_state()
    runs = [
        library(model, x, y, epsilon=EPSILON, step_size=EPSILON, steps=1, seed=seed)
        for seed in (5, 5, 6)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == before
    assert torch.equal(model[1].running_mean, statistics)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_a_bad_budget_is_an_input_error(data):
    x, y = data
    with pytest.raises(InputError, match="epsilon"):
        torchattacks_pgd(trained(), x, y, epsilon=-1, step_size=0.1, steps=1, seed=0)


def test_a_missing_library_names_the_extra(data, monkeypatch):
    x, y = data
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    with pytest.raises(InputError, match=r"rewire\[attacks\]"):
        torchattacks_pgd(trained(), x, y, epsilon=EPSILON, step_size=0.1, steps=1, seed=0)


def test_cross_entropy_gradients_are_not_scaled_by_the_batch(data):
    x, y = data
    loss = summed_cross_entropy(trained(), y)
    assert loss(x).item() == pytest.approx(
        F.cross_entropy(trained()(x), y).item() * COUNT, rel=1e-5
    )
