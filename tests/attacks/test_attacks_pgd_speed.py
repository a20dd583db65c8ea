"""What makes PGD fast changes no verdict: rare looks at who is fooled, a first pass, noise."""

from __future__ import annotations

import pytest
import torch
from helpers.toys_attacked import EPSILON, NoWaiting, images, slow_pgd, trained

from rewire.attacks.image_noise import image_noise
from rewire.attacks.judge import CLEAN_WRONG, FOOLED_BY, SURVIVED, is_correct, judge
from rewire.attacks.pgd import PGD
from rewire.rng import generator

COUNT = 200


@pytest.fixture(scope="module")
def data():
    x, y = images(COUNT, seed=3)
    return x, y, torch.arange(COUNT) * 7 + 5


@pytest.fixture(scope="module")
def result(data):
    x, y, indices = data
    return PGD(EPSILON, steps=20, restarts=5, batch_size=64).attack(
        trained(), x, y, indices=indices
    )


@pytest.mark.parametrize(
    ("check_every", "batch_size"), [(1, 30), (3, 256), (5, 256), (5, 13), (50, 64)]
)
def test_looking_less_often_changes_nothing(data, result, check_every, batch_size):
    x, y, indices = data
    rows = torch.randperm(COUNT, generator=torch.Generator().manual_seed(check_every))[:150]
    attack = PGD(EPSILON, steps=20, restarts=5, batch_size=batch_size, check_every=check_every)
    other = attack.attack(trained(), x[rows], y[rows], indices=indices[rows])
    assert torch.equal(other.fooled_at_restart, result.fooled_at_restart[rows])
    assert torch.equal(other.fooled_by, result.fooled_by[rows])
    # The first iterate that fooled is kept, however many steps follow before the look.
    torch.testing.assert_close(other.adversarial, result.adversarial[rows], atol=1e-6, rtol=0)
    assert other.fragile == 0


def test_fooled_images_wait_for_the_next_look_at_most(data, result):
    x, y, indices = data
    other = PGD(EPSILON, steps=20, restarts=5, batch_size=64, check_every=5).attack(
        trained(), x, y, indices=indices
    )
    fooled = int((result.fooled_at_restart >= 0).sum())
    assert result.steps_run < other.steps_run <= result.steps_run + 4 * fooled


def test_a_step_never_waits_for_the_device(data):
    x, y, _ = data
    with NoWaiting():
        point, fooled = PGD()._step(trained(), x, x, y, torch.zeros(COUNT, dtype=torch.bool))
    assert torch.equal(fooled, ~is_correct(trained()(x), y))
    assert torch.equal(point[fooled], x[fooled])
    assert bool((point[~fooled] != x[~fooled]).any(dim=(1, 2, 3)).all())


def test_a_first_pass_takes_the_worst_of_both(data):
    x, y, indices = (part[:80] for part in data)
    attack = PGD(EPSILON, steps=5, restarts=2, first_pass_steps=3, batch_size=17)
    calls = []
    found = attack.attack(trained(), x, y, indices=indices, progress=lambda *now: calls.append(now))
    # The quick restart's start is numbered -1, its step 2.5 epsilon over its own steps.
    quick = slow_pgd(trained(), x, y, indices, PGD(EPSILON, steps=3), starts=[-1])
    alone = PGD(EPSILON, steps=5, restarts=2).attack(trained(), x, y, indices=indices)
    expected = [
        ("first-pass", 0) if first == 0 else ("pgd", then) if then >= 0 else (then, then)
        for first, then in zip(quick, alone.fooled_at_restart.tolist(), strict=True)
    ]
    names = [FOOLED_BY[by] if by >= 0 else by for by in found.fooled_by.tolist()]
    assert list(zip(names, found.fooled_at_restart.tolist(), strict=True)) == expected
    assert {"first-pass", "pgd", SURVIVED, CLEAN_WRONG} <= set(names)
    assert torch.equal(found.correct, found.fooled_by == SURVIVED)
    assert not (found.correct & ~alone.correct).any()
    verdict = judge(trained(), found.adversarial, x, y, epsilon=EPSILON, batch_size=33)
    assert torch.equal(verdict & found.clean_correct, found.correct)
    attacked = int(found.clean_correct.sum())
    assert calls == sorted(calls)
    assert calls[-1] == (attacked, attacked)


def test_noise_is_drawn_per_image_and_key():
    shape = (3, 8, 8)
    keys = [(index, 0) for index in range(200)]
    many = image_noise(shape, seed=0, purpose="test", keys=keys)
    assert many.shape == (200, 3, 8, 8)
    for row in (0, 7, 199):
        source = generator(0, "test", row, 0)
        assert torch.equal(many[row], torch.rand(shape, generator=source))
    some = image_noise(shape, seed=0, purpose="test", keys=[keys[7], keys[3]])
    assert torch.equal(some, many[[7, 3]])
    for other in ({"seed": 1}, {"purpose": "other"}, {"keys": [(7, 1)]}):
        changed = image_noise(shape, **{"seed": 0, "purpose": "test", "keys": [(7, 0)], **other})
        assert not torch.equal(changed[0], many[7])
    # A uniform variable on [0, 1) has mean 1/2 and variance 1/12; 38,400 draws.
    assert abs(many.mean().item() - 1 / 2) < 0.01
    assert abs(many.var().item() - 1 / 12) < 0.0025
    assert image_noise(shape, seed=0, purpose="test", keys=[]).shape == (0, 3, 8, 8)
