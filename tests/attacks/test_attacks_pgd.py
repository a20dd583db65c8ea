from __future__ import annotations

import pytest
import torch
from helpers.toys_attacked import EPSILON, conv_net, images, slow_pgd, trained
from torch import nn

from rewire.attacks.autoattack import AutoAttack
from rewire.attacks.judge import (
    CLEAN_WRONG,
    SURVIVED,
    is_correct,
    judge,
    predict_logits,
    restart_type,
)
from rewire.attacks.pgd import PGD
from rewire.errors import InputError
from rewire.registry import ATTACKS

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


def test_matches_a_plain_loop_over_single_images(data):
    x, y, indices = (part[:60] for part in data)
    attack = PGD(EPSILON, steps=5, restarts=3, batch_size=16)
    found = attack.attack(trained(), x, y, indices=indices)
    expected = slow_pgd(trained(), x, y, indices, attack)
    assert found.fooled_at_restart.tolist() == expected
    assert 12 <= int(found.correct.sum()) <= 48
    assert CLEAN_WRONG in expected


def test_the_test_case_can_fail(result):
    robust = int(result.correct.sum()) / COUNT
    assert 0.2 < robust < 0.8
    assert int(result.clean_correct.sum()) < COUNT
    # Some images fall only to a later restart.
    assert int((result.fooled_at_restart > 0).sum()) >= 1


@pytest.mark.parametrize("batch_size", [7, 64, 1000])
def test_the_batch_size_changes_nothing(data, result, batch_size):
    x, y, indices = data
    other = PGD(EPSILON, steps=20, restarts=5, batch_size=batch_size).attack(
        trained(), x, y, indices=indices
    )
    assert torch.equal(other.correct, result.correct)
    assert torch.equal(other.fooled_at_restart, result.fooled_at_restart)
    assert other.steps_run == result.steps_run


def test_a_permuted_subset_gives_the_same_verdicts(data, result):
    x, y, indices = data
    rows = torch.randperm(COUNT, generator=torch.Generator().manual_seed(4))[:90]
    other = PGD(EPSILON, steps=20, restarts=5, batch_size=32).attack(
        trained(), x[rows], y[rows], indices=indices[rows]
    )
    assert torch.equal(other.fooled_at_restart, result.fooled_at_restart[rows])


def test_adversarials_lie_in_the_ball_and_fool(data, result):
    x, y, _ = data
    delta = (result.adversarial - x).abs().amax()
    assert delta <= EPSILON + 1e-6
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1
    verdict = judge(trained(), result.adversarial, x, y, epsilon=EPSILON, batch_size=33)
    assert torch.equal(verdict, result.correct)
    assert torch.equal(result.correct, result.fooled_at_restart == SURVIVED)
    assert torch.equal(~result.clean_correct, result.fooled_at_restart == CLEAN_WRONG)
    untouched = ~result.clean_correct
    assert torch.equal(result.adversarial[untouched], x[untouched])
    assert result.fragile == 0


def test_the_clean_verdict_is_that_of_the_model(data, result):
    x, y, _ = data
    logits = predict_logits(trained(), x, batch_size=50)
    torch.testing.assert_close(logits, trained()(x).detach())
    assert torch.equal(is_correct(logits, y), result.clean_correct)


def test_only_survivors_are_worked_on(data):
    """The model sees each image once clean, once finally, and in `steps_run` iterates."""
    x, y, indices = data
    seen = []
    model = trained()
    handle = model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    try:
        found = PGD(EPSILON, steps=6, restarts=3, batch_size=50).attack(
            model, x, y, indices=indices
        )
    finally:
        handle.remove()
    assert sum(seen) == 2 * COUNT + found.steps_run
    assert max(seen) == 50
    survivors = int(found.correct.sum())
    attacked = int(found.clean_correct.sum())
    # A survivor costs every iterate of every restart, the start included; the others at least 1.
    assert found.steps_run >= survivors * 3 * 7 + (attacked - survivors)
    assert found.steps_run < attacked * 3 * 7
    # Survivors of one restart and newcomers share batches: full ones until nobody waits.
    body = seen[4:-4]
    assert body[0] == 50
    assert sum(size == 50 for size in body) > len(body) / 2


def test_progress_counts_decided_images(data, result):
    x, y, indices = data
    calls = []
    PGD(EPSILON, steps=5, restarts=2, batch_size=64).attack(
        trained(), x, y, indices=indices, progress=lambda done, total: calls.append((done, total))
    )
    attacked = int(result.clean_correct.sum())
    assert calls[-1] == (attacked, attacked)
    assert calls == sorted(calls)


def test_the_model_is_left_as_it_was(data):
    x, y, indices = data
    model = conv_net()
    model[1].eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    training = [module.training for module in model.modules()]
    with torch.no_grad():  # as in a validation step
        PGD(EPSILON, steps=2, restarts=1, batch_size=64).attack(model, x, y, indices=indices)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [module.training for module in model.modules()] == training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_edge_cases(data):
    x, y, indices = data
    none = PGD(EPSILON, steps=2).attack(trained(), x[:0], y[:0], indices=indices[:0])
    assert none.correct.shape == (0,)
    assert none.steps_run == 0
    wrong = (y + 1) % 4  # nearly every image is misclassified clean
    found = PGD(EPSILON, steps=2, restarts=1).attack(trained(), x, wrong, indices=indices)
    assert int(found.correct.sum()) == 0
    assert int((found.fooled_at_restart == CLEAN_WRONG).sum()) > 150


def test_a_model_that_contradicts_itself_is_an_error(data):
    x, y, indices = data

    class Moody(nn.Module):
        """Right at first and wrong under attack, whatever the input; right again at the end."""

        def forward(self, x):
            right = not x.requires_grad
            logits = torch.zeros(len(x), 4) + 0 * x.sum(dim=(1, 2, 3))[:, None]
            return logits + torch.tensor([5.0, 0, 0, 0] if right else [0, 5.0, 0, 0])

    with pytest.raises(AssertionError, match="contradicts itself"):
        PGD(EPSILON, steps=2).attack(Moody(), x, torch.zeros_like(y), indices=indices)


def test_a_verdict_that_only_rounding_decides_is_tolerated(data):
    x, y, indices = data

    class Tied(nn.Module):
        def forward(self, x):
            tilt = 1e-6 if x.requires_grad else -1e-6
            logits = torch.zeros(len(x), 4) + 0 * x.sum(dim=(1, 2, 3))[:, None]
            return logits + torch.tensor([1.0, 1 + tilt, 0, 0])

    found = PGD(EPSILON, steps=2, restarts=1).attack(
        Tied(), x, torch.zeros_like(y), indices=indices
    )
    assert found.fragile == COUNT
    assert bool(found.correct.all())
    assert bool((found.fooled_at_restart == SURVIVED).all())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epsilon", 0),
        ("epsilon", 1.5),
        ("epsilon", float("nan")),
        ("epsilon", "8/255"),
        ("steps", 0),
        ("steps", 2.5),
        ("restarts", 0),
        ("restarts", True),
        ("step_size", 0.0),
        ("batch_size", 0),
        ("check_every", 0),
        ("first_pass_steps", 0),
        ("seed", -1),
    ],
)
def test_unusable_values_are_input_errors(option, value):
    with pytest.raises(InputError, match=option):
        ATTACKS.build("pgd", **{option: value})


def test_different_lengths_are_an_input_error(data):
    x, y, indices = data
    with pytest.raises(InputError, match="199 labels"):
        PGD().attack(trained(), x, y[1:], indices=indices)


def test_attacks_by_name():
    assert list(ATTACKS) == ["autoattack", "pgd"]
    assert ATTACKS.build("autoattack", steps=7)() == AutoAttack(steps=7)
    assert ATTACKS.build("pgd", steps=7)() == PGD(steps=7)
    assert ATTACKS.build("pgd")().step == pytest.approx(2.5 * 8 / 255 / 50)
    assert PGD(step_size=0.01).step == 0.01
    with pytest.raises(InputError, match="Did you mean 'pgd'"):
        ATTACKS.build("pdg")
    with pytest.raises(InputError, match="Did you mean 'restarts'"):
        ATTACKS.build("pgd", restart=3)


class Threshold(nn.Module):
    """Two classes by the mean of an image, which a small step moves over the border."""

    def forward(self, x):
        z = 1000 * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-z, z], dim=1)


def test_the_numbers_of_more_restarts_than_int16_holds_are_recorded():
    assert restart_type(2**15) == torch.int16  # restarts 0 to 32,767, as in all usual ledgers
    assert restart_type(2**15 + 1) == torch.int32
    y = torch.arange(4) % 2
    x = 0.5 + 0.001 * (2.0 * y - 1).view(4, 1, 1, 1)
    many = PGD(epsilon=0.1, steps=1, restarts=70_000, first_pass_steps=2, seed=0)
    found = many.attack(Threshold(), x, y, indices=torch.arange(4)).fooled_at_restart
    assert (found.dtype, found.tolist()) == (torch.int32, [0] * 4)
    found = PGD(epsilon=0.1, steps=1, restarts=3).attack(Threshold(), x, y, indices=torch.arange(4))
    assert found.fooled_at_restart.dtype == torch.int16
