"""Sweeps of the attack against models whose robust accuracy is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.toys_audited import EPSILON, Constant, Linear, case_of, grey, labelled_by

from rewire.errors import InputError
from rewire.evaluation.audit import Case, epsilon_sweep, restart_sweep, step_sweep

RADII = [0, 1, 2, 4, 8, 16, 64]


def names(found) -> list[str]:
    return [flag.name for flag in found.flags]


class Told(Case):
    """A case whose attacks leave what a table says, by steps or by radius in 1/255."""

    table = None

    def left_by(self, attack) -> int:
        return self.table[
            attack.steps if attack.epsilon == EPSILON else round(attack.epsilon * 255)
        ]


def told(case: Case, table: dict) -> Case:
    found = Told(case.model, case.data, case.clean, case.robust, case.attack, case.tolerance)
    object.__setattr__(found, "table", table)
    return found


@pytest.fixture(scope="module")
def linear():
    model = Linear()
    return case_of(model, labelled_by(model, grey(spread=90)))


def test_a_linear_model_has_its_exact_accuracy_at_every_radius_and_no_flag(linear):
    found = epsilon_sweep(linear, epsilons=RADII, steps=10)
    exact = [int(linear.model.survives(linear.data, e / 255).sum()) for e in RADII]
    assert len(set(exact)) >= 4  # the radii tell something
    assert exact[0] == 36  # nine of ten labels are right
    assert found.numbers.correct == exact
    assert found.flags == ()


def test_steps_and_restarts_of_a_linear_model(linear):
    exact = int(linear.model.survives(linear.data, EPSILON).sum())
    found = step_sweep(linear, steps=[2, 5, 20])
    assert found.numbers.correct == [exact] * 3
    assert found.numbers.reported == exact
    assert found.flags == ()


def test_a_radius_of_zero_must_be_the_clean_accuracy_image_by_image(linear):
    swapped = linear.clean.clone()
    right, wrong = int(swapped.nonzero()[0]), int((~swapped).nonzero()[0])
    swapped[right], swapped[wrong] = False, True  # the same number of images
    found = epsilon_sweep(replace(linear, clean=swapped), epsilons=[0], steps=2)
    assert names(found) == ["zero radius"]
    assert "2 of 40 images" in found.flags[0].reason


def test_a_model_that_stands_at_64_is_flagged():
    case = case_of(Constant(), grey(10))
    found = epsilon_sweep(case, epsilons=[0, 8, 64], steps=3)
    assert found.numbers.correct == [10, 10, 10]
    assert names(found) == ["large radius"]
    assert "64/255 leaves 100.0 % of 10 images" in found.flags[0].reason


@pytest.mark.parametrize(("rise", "flagged"), [(0, False), (2, False), (3, True)])
def test_a_rise_beyond_the_tolerance_is_flagged(linear, rise, flagged):
    # Five points of 40 images are two images.
    case = replace(linear, tolerance=5.0)
    assert case.slack == 2
    radii = told(case, {2: 20, 4: 12, 16: 12 + rise, 64: 0})
    found = epsilon_sweep(radii, epsilons=[2, 4, 16, 64], steps=3)
    assert names(found) == ["epsilon sweep"] * flagged
    if flagged:
        reason = found.flags[0].reason
        assert reason == (
            "a radius of 16/255 leaves 37.5 % of 40 images correct, a radius of 4/255 30.0 % "
            "of 40 images"
        )
    left = int(case.robust.sum())
    steps = told(case, {10: left, 50: left + rise})
    assert names(step_sweep(steps, steps=[10, 50])) == ["step sweep"] * flagged


@pytest.mark.parametrize(("missed", "flagged"), [(0, False), (1, False), (2, True)])
def test_a_longer_attack_that_finds_more_is_flagged(linear, missed, flagged):
    # The ledger of an attack that overlooked some images.
    fooled = (linear.clean & ~linear.robust).nonzero().flatten()[:missed]
    robust = linear.robust.clone()
    robust[fooled] = True
    found = step_sweep(replace(linear, robust=robust), steps=[20])
    assert names(found) == ["not converged"] * flagged


def test_accuracy_after_every_restart_comes_from_the_ledger(linear):
    # 36 clean images; restarts 0, 1, 2 fool 20, 3, 1.
    codes = [-2] * 4 + [0] * 20 + [1] * 3 + [2] + [-1] * 12
    case = replace(linear, attack=replace(linear.attack, restarts=3))
    found = restart_sweep(case, np.array(codes, dtype=np.int16))
    assert found.numbers.as_json() == {"restarts": [1, 2, 3], "correct": [16, 13, 12], "images": 40}
    assert found.flags == ()
    late = np.where(np.array(codes) == 0, 2, codes)
    found = restart_sweep(case, late)
    assert found.numbers.correct == [36, 33, 12]
    assert names(found) == ["restarts"]
    assert "the last of 3 restarts still fools 52.5 % of 40 images" in found.flags[0].reason


def test_the_first_images_are_balanced_and_keep_their_ledger(linear):
    few = linear.first(8)
    assert torch.bincount(few.data.labels).tolist() == [4, 4]
    rows = few.data.indices - 100
    assert torch.equal(few.robust, linear.robust[rows])
    assert torch.equal(few.clean, linear.clean[rows])


def test_what_cannot_be_swept_is_refused(linear):
    for values in ([], [4, 2], [2, 2], [-1, 2]):
        with pytest.raises(InputError, match="rising numbers"):
            epsilon_sweep(linear, epsilons=values, steps=2)
    with pytest.raises(InputError, match="39"):
        replace(linear, clean=linear.clean[1:])
