"""AutoAttack on survivors against a loop over single images and the authors' own chain."""

from __future__ import annotations

import sys

import pyautoattack
import pytest
import torch
from helpers.toys_attacked import EPSILON, conv_net, images, trained
from torch import nn

from rewire.attacks import autoattack as module
from rewire.attacks.adapters.pyautoattack_adapter import autoattack_components
from rewire.attacks.autoattack import AutoAttack
from rewire.attacks.judge import CLEAN_WRONG, FOOLED_BY, SURVIVED, judge
from rewire.attacks.pgd import PGD
from rewire.errors import InputError
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.registry import ATTACKS

COUNT = 60
# So few steps leave images for the later attacks.
SMALL = {"epsilon": EPSILON, "steps": 1, "queries": 100}


@pytest.fixture(scope="module")
def data():
    x, y = images(COUNT, seed=3)
    return x, y, torch.arange(COUNT) * 7 + 5


@pytest.fixture(scope="module")
def result(data):
    x, y, indices = data
    return AutoAttack(**SMALL).attack(trained(), x, y, indices=indices)


def test_matches_a_loop_over_single_images(data, result):
    x, y, indices = data
    components = autoattack_components(trained(), epsilon=EPSILON, steps=1, queries=100, classes=4)
    names = [component.name for component in components]
    assert names == ["apgd-ce"] + ["apgd-t"] * 3 + ["fab-t"] * 3 + ["square"]
    assert [component.target for component in components] == [0, 2, 3, 4, 2, 3, 4, 0]
    expected = []
    for row in range(COUNT):
        image, label = x[row : row + 1], y[row : row + 1]

        def right(point, label=label):
            with torch.no_grad():
                return trained()(point).argmax().item() == label.item()

        code = SURVIVED if right(image) else CLEAN_WRONG
        for component in components if code == SURVIVED else ():
            found = component(
                trained(), image, label, indices=indices[row : row + 1], seed=0, restart=0
            )
            delta = (found - image).clamp(-EPSILON, EPSILON)
            if not right((image + delta).clamp(0, 1)):
                code = FOOLED_BY.index(component.name)
                break
        expected.append(code)
    assert result.fooled_by.tolist() == expected
    assert {CLEAN_WRONG, SURVIVED, FOOLED_BY.index("apgd-ce")} < set(expected)  # and another
    assert 0.2 * COUNT < int(result.correct.sum()) < 0.8 * COUNT


@pytest.mark.parametrize(("batch_size", "seed"), [(7, 0), (1000, 1)])
def test_neither_batches_nor_order_change_anything(data, result, batch_size, seed):
    x, y, indices = data
    rows = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))[:45]
    other = AutoAttack(**SMALL, batch_size=batch_size).attack(
        trained(), x[rows], y[rows], indices=indices[rows]
    )
    assert torch.equal(other.fooled_by, result.fooled_by[rows])
    assert torch.equal(other.fooled_at_restart, result.fooled_at_restart[rows])
    torch.testing.assert_close(other.adversarial, result.adversarial[rows], atol=1e-3, rtol=0)


def test_what_is_drawn_depends_on_seed_index_target_and_restart(data):
    x, y, indices = (part[:5] for part in data)
    by_name = {
        (c.name, c.target): c
        for c in autoattack_components(trained(), epsilon=EPSILON, steps=1, queries=3, classes=4)
    }
    base = {"indices": indices, "seed": 0, "restart": 0}
    for name in (("apgd-ce", 0), ("apgd-t", 2), ("square", 0)):
        first = by_name[name](trained(), x, y, **base)
        assert torch.equal(first, by_name[name](trained(), x, y, **base))
        for change in ({"indices": indices + 1}, {"seed": 1}, {"restart": 1}):
            assert not torch.equal(first, by_name[name](trained(), x, y, **base | change)), name
    # FAB starts at the image itself at first and at a random point later.
    fab = by_name["fab-t", 2]
    assert torch.equal(
        fab(trained(), x, y, **base), fab(trained(), x, y, **base | {"indices": indices + 1})
    )
    assert not torch.equal(
        fab(trained(), x, y, **base), fab(trained(), x, y, **base | {"restart": 1})
    )


def test_the_result_is_judged_outside_the_attack(data, result):
    x, y, _ = data
    assert (result.adversarial - x).abs().amax() <= EPSILON + 1e-6
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1
    verdict = judge(trained(), result.adversarial, x, y, epsilon=EPSILON, batch_size=33)
    assert torch.equal(verdict, result.correct)
    assert torch.equal(result.correct, result.fooled_by == SURVIVED)
    assert torch.equal(~result.clean_correct, result.fooled_by == CLEAN_WRONG)
    assert torch.equal(result.fooled_at_restart >= 0, result.fooled_by >= 0)
    assert torch.equal(result.adversarial[~result.clean_correct], x[~result.clean_correct])
    assert result.fragile == 0


def library_autoattack(model, x, y, *, epsilon, queries, seed=3):
    """The authors' own chain, "standard", with fewer queries of Square."""
    chain = pyautoattack.AutoAttack(model, eps=epsilon, seed=seed)
    chain.square.n_queries = queries
    chain.apgd_targeted.n_target_classes = chain.fab.n_target_classes = 3  # of four
    with torch.random.fork_rng():
        x_adv, _ = chain.run_standard_evaluation(x, y, batch_size=64)
    model.zero_grad()
    return judge(model, x_adv, x, y, epsilon=epsilon, batch_size=64)


def test_agrees_with_the_authors_chain_and_is_no_weaker_than_pgd():
    x, y = images(50, seed=5)
    indices = torch.arange(50)
    theirs = library_autoattack(trained(), x, y, epsilon=EPSILON, queries=300)
    ours = AutoAttack(EPSILON, queries=300).attack(trained(), x, y, indices=indices)
    pgd = PGD(EPSILON, steps=20, restarts=5).attack(trained(), x, y, indices=indices)
    counts = [int(verdicts.sum()) for verdicts in (theirs, ours.correct, pgd.correct)]
    assert 10 < counts[0] < 40
    assert abs(counts[0] - counts[1]) <= 1
    assert counts[1] <= counts[2]


def test_a_sparse_network_against_the_library():
    model = SparseNetwork(
        nn.Sequential(
            SparseConv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            SparseLinear(8 * 8 * 8, 4),
        ),
        p_init=[0.5, 0.5],
        generator=torch.Generator().manual_seed(0),
    )
    x, y = images(1024, seed=1)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    optimiser.zero_grad()
    model.eval()
    radius = 5 / 255
    x, y = images(100, seed=7)
    theirs = library_autoattack(model, x, y, epsilon=radius, queries=100)
    ours = AutoAttack(radius, queries=100).attack(model, x, y, indices=torch.arange(100))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert 20 < int(theirs.sum()) < int(ours.clean_correct.sum()) - 10
    assert abs(int(theirs.sum()) - int(ours.correct.sum())) <= 1


class Script:
    """A component that fools the images of given indices and notes what it was given."""

    def __init__(self, name, fools, log):
        self.name, self.fools, self.log = name, fools, log

    def __call__(self, model, x, y, *, indices, seed, restart):
        self.log.append((self.name, restart, seed, indices.tolist()))
        hit = torch.tensor([index in self.fools.get(restart, ()) for index in indices.tolist()])
        model(x)
        # Far outside the ball: the verdict is on what is left after clipping.
        return torch.where(hit[:, None, None, None], x + 5, x)


class Threshold(nn.Module):
    """Class 0 up to a mean of 0.5 and class 1 above, of four."""

    def forward(self, x):
        over = x.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-over, over, over * 0 - 9, over * 0 - 9], dim=1)


def test_only_survivors_meet_the_next_attack(monkeypatch):
    log = []
    chain = [
        Script("apgd-ce", {0: [10]}, log),
        Script("apgd-t", {1: [12, 99]}, log),
        Script("square", {0: [14]}, log),
    ]
    monkeypatch.setattr(module, "autoattack_components", lambda *_, **__: chain)
    # The image of index 99 is too far from the threshold; that of 11 is wrong from the start.
    x = torch.full((6, 3, 4, 4), 0.49)
    x[1], x[5] = 0.6, 0.2
    calls = []
    found = AutoAttack(epsilon=0.1, restarts=2, batch_size=3, seed=4).attack(
        Threshold(),
        x,
        torch.zeros(6, dtype=torch.int64),
        indices=torch.tensor([10, 11, 12, 13, 14, 99]),
        progress=lambda *now: calls.append(now),
    )
    assert log == [
        ("apgd-ce", 0, 4, [10, 12, 13]), ("apgd-ce", 0, 4, [14, 99]),
        ("apgd-ce", 1, 4, [12, 13, 14]), ("apgd-ce", 1, 4, [99]),
        ("apgd-t", 0, 4, [12, 13, 14]), ("apgd-t", 0, 4, [99]),
        ("apgd-t", 1, 4, [12, 13, 14]), ("apgd-t", 1, 4, [99]),
        ("square", 0, 4, [13, 14, 99]),
        ("square", 1, 4, [13, 99]),
    ]  # fmt: skip
    ce, targeted, square = (FOOLED_BY.index(script.name) for script in chain)
    assert found.fooled_by.tolist() == [ce, CLEAN_WRONG, targeted, SURVIVED, square, SURVIVED]
    assert found.fooled_at_restart.tolist() == [0, CLEAN_WRONG, 1, SURVIVED, 0, SURVIVED]
    assert found.steps_run == sum(len(indices) for *_, indices in log)
    assert calls == sorted(calls)
    assert calls[-1] == (5, 5)


def test_global_state_modes_and_gradients_are_left_alone(data):
    x, y, indices = (part[:12] for part in data)
    model = conv_net()
    model.load_state_dict(trained().state_dict())
    model[1].eval()
    before = [part.training for part in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random, draw = torch.get_rng_state(), torch.rand
    AutoAttack(EPSILON, steps=2, queries=5).attack(model, x, y, indices=indices)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.rand is draw
    assert [part.training for part in model.modules()] == before
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not model._forward_pre_hooks


def test_nothing_to_attack(data):
    x, y, indices = data
    none = AutoAttack(**SMALL).attack(trained(), x[:0], y[:0], indices=indices[:0])
    assert none.correct.shape == (0,)
    assert none.steps_run == 0


def test_refusals(data, monkeypatch):
    x, y, indices = data
    with pytest.raises(InputError, match="59 labels"):
        AutoAttack().attack(trained(), x, y[1:], indices=indices)
    three = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with pytest.raises(InputError, match=r"3 classes\. Allowed for AutoAttack: at least 4"):
        AutoAttack().attack(three, x, y % 3, indices=indices)
    monkeypatch.setitem(sys.modules, "pyautoattack.square", None)
    with pytest.raises(InputError, match=r"rewire\[attacks\]"):
        AutoAttack().attack(trained(), x, y, indices=indices)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epsilon", 0),
        ("steps", 0),
        ("queries", 1.5),
        ("restarts", 0),
        ("batch_size", -1),
        ("seed", True),
    ],
)
def test_unusable_values_are_input_errors(option, value):
    with pytest.raises(InputError, match=option):
        ATTACKS.build("autoattack", **{option: value})
