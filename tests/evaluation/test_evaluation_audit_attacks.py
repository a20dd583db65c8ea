"""Other attacks on models that hide their gradients, and on one that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.toys_audited import (
    EPSILON,
    Constant,
    DeadUnit,
    Linear,
    case_of,
    grey,
    labelled_by,
)
from torch import nn

from rewire.attacks.autoattack import AutoAttack
from rewire.attacks.judge import linf_project
from rewire.errors import InputError
from rewire.evaluation import audit_attacks
from rewire.evaluation.audit_attacks import (
    autoattack_gap,
    input_gradients,
    random_noise,
    straight_through_attack,
    transfer,
)


def names(found) -> list[str]:
    return [flag.name for flag in found.flags]


@pytest.fixture(scope="module")
def open_case():
    model = Linear()
    return case_of(model, labelled_by(model, grey(spread=90)))


@pytest.fixture(scope="module")
def masked():
    """The same classes, but the loss is saturated: its gradient is exactly zero."""
    data = labelled_by(Linear(), grey(spread=90))
    return case_of(Linear(scale=1e5), data, restarts=1)


def test_an_open_model_raises_no_flag(open_case):
    assert input_gradients(open_case, limit=1.0).numbers.as_json() == {
        "images": 36, "all_zero": 0, "all_zero_percent": 0.0, "zero_pixels_percent": 0.0,
    }  # fmt: skip
    exact = int(open_case.model.survives(open_case.data, EPSILON).sum())
    other = Linear(seed=1)
    for found in (
        random_noise(open_case, draws=5),
        transfer(open_case, other, name="another", steps=5),
        straight_through_attack(open_case, leaks=[0.1, 1.0], dormant=0.1, steps=5),
        input_gradients(open_case, limit=1.0),
    ):
        assert found.flags == ()
        assert getattr(found.numbers, "beyond", 0) == 0
        assert getattr(found.numbers, "correct", 36) >= exact
        assert getattr(found.numbers, "reported", exact) == exact


def test_a_saturated_loss_is_found_out(masked):
    model = masked.model
    exact = int(model.survives(masked.data, EPSILON).sum())
    reported = int(masked.robust.sum())
    assert exact < reported - 5  # PGD overrates it
    blind = input_gradients(masked, limit=1.0)
    assert names(blind) == ["zero gradient"]
    assert blind.numbers.all_zero >= 30
    assert names(random_noise(masked, draws=10)) == ["random noise"]
    crossed = transfer(masked, Linear(), name="the open one", steps=5)
    assert names(crossed) == ["transfer"]
    assert crossed.numbers.correct == exact
    assert crossed.numbers.beyond == reported - exact
    assert "the open one" in crossed.flags[0].reason


@pytest.mark.parametrize("functional", [False, True])
def test_a_dead_unit_is_found_out(functional):
    case = case_of(DeadUnit(functional=functional), grey(20, spread=2))
    assert int(case.robust.sum()) == 20  # PGD stands still
    assert names(input_gradients(case, limit=1.0)) == ["zero gradient"]
    found = straight_through_attack(case, leaks=[0.1], dormant=0.1, steps=10)
    assert found.numbers.beyond == 20
    assert names(found) == ["straight through"]


def test_what_straight_through_finds_is_judged_on_the_network_itself(monkeypatch, open_case):
    """An attack that only believes to have won, because values move inside, finds nothing."""

    class Wrong(nn.Module):
        lying = False

        def forward(self, x):
            right = torch.tensor([0.0, 5.0] if self.lying else [5.0, 0.0])
            return right + 0 * x.flatten(1)[:, :2]

    model = Wrong()
    case = case_of(model, grey(6))

    class Lie:
        def __enter__(self):
            model.lying = True

        def __exit__(self, *_):
            model.lying = False

    monkeypatch.setattr(audit_attacks, "straight_through", lambda *_, **__: Lie())
    found = straight_through_attack(case, leaks=[1.0], dormant=0.1, steps=2)
    assert found.numbers.beyond == 0
    assert found.flags == ()


def test_share_of_zero_entries_of_the_gradient(open_case):
    model = Linear()
    model.w.data[:16] = 0
    case = case_of(model, grey(12))
    found = input_gradients(case, limit=1.0)
    assert found.numbers.zero_pixels_percent == (25.0 if case.clean.any() else 0.0)
    assert found.numbers.all_zero == 0


def test_noise_is_inside_of_the_ball_and_a_function_of_the_image(open_case):
    noisy = audit_attacks._noisy(open_case, "audit noise", 3, 0)
    assert torch.equal(noisy, linf_project(noisy, open_case.x, EPSILON))
    assert (noisy - open_case.x).abs().amax() > 0.95 * EPSILON
    rows = torch.tensor([7, 3])
    some = audit_attacks._noisy(open_case.take(rows), "audit noise", 3, 0)
    assert torch.equal(some, noisy[rows])
    assert not torch.equal(noisy, audit_attacks._noisy(open_case, "audit noise", 4, 0))


def test_noise_says_nothing_where_the_attack_fools_everything():
    model = Constant()
    data = grey(5)
    case = replace(case_of(model, data), robust=torch.zeros(5, dtype=torch.bool))
    assert random_noise(case, draws=2).flags == ()


def test_nothing_left_to_attack_is_no_error(open_case):
    none = torch.zeros(40, dtype=torch.bool)
    case = replace(open_case, robust=none, clean=none)
    assert straight_through_attack(case, leaks=[0.1], dormant=0.1, steps=2).flags == ()
    assert input_gradients(case, limit=1.0).numbers.images == 0


class FourClasses(Linear):
    def forward(self, x):
        margin = self.scale * self.margin(x)[:, None]
        return torch.cat([margin, -margin, margin * 0 - 3e5, margin * 0 - 4e5], dim=1)


def test_autoattack_shows_what_a_saturated_loss_hides():
    data = labelled_by(Linear(), grey(spread=90))
    case = case_of(FourClasses(scale=1e5), data, restarts=1).first(20)
    attack = AutoAttack(epsilon=EPSILON, steps=5, queries=5)
    found = autoattack_gap(case, attack)
    assert names(found) == ["AutoAttack"]
    exact = int(case.model.survives(case.data, EPSILON).sum())
    assert exact <= found.numbers.correct < int(case.robust.sum())
    assert found.numbers.gap == pytest.approx(
        100 * (int(case.robust.sum()) - found.numbers.correct) / 20
    )
    with pytest.raises(InputError, match=r"epsilon of 0\.1"):
        autoattack_gap(case, replace(attack, epsilon=0.1))
