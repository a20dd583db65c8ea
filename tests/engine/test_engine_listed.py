"""Momentum steps on the entries that move leave the bits of steps over every entry."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from helpers.toys_engine import seeded
from torch import Tensor, nn

from rewire.connectivity.sampling import add_noise, connected_entries, sample_connectivity
from rewire.engine.listed import ListedSteps
from rewire.models.layout import lay_out, total_size
from rewire.registry import STRATEGIES
from rewire.training.optimiser import DecoupledSGD, step_schedule

LAYERS = lay_out([("conv", (32, 3, 3, 32)), ("dense", (128, 180))])
SIZE = total_size(LAYERS)  # more than the pieces that threads settle
BUDGET = 2000


def bits(tensor: Tensor) -> Tensor:
    return tensor.detach().view(torch.int32)


@dataclass
class Training:
    """A network's θ trained by given gradients, with noise and re-connections, in either form.

    Attributes:
        listed: whether gradients list the connected entries, as those of the engine do.
        history: of every step, re-connections, surplus, entries that momentum might connect, and
            those that it did.
    """

    listed: bool
    momentum: float = 0.9
    decay: float = 5e-4
    steps: int = 600
    history: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self):
        source = seeded(1)
        theta = torch.zeros(SIZE)
        theta[torch.randperm(SIZE, generator=source)[:BUDGET]] = 1e-3 * torch.rand(
            BUDGET, generator=source
        )
        self.theta, self.bias = nn.Parameter(theta), nn.Parameter(torch.ones(7))
        self.optimiser, self.schedule = self.new_optimiser()
        self.connected = connected_entries(self.theta.data)

    def new_optimiser(self):
        optimiser = DecoupledSGD(
            [self.theta, self.bias], lr=0.1, momentum=self.momentum, decay=self.decay
        )
        return optimiser, step_schedule(optimiser, total_steps=self.steps)

    @property
    def velocity(self) -> Tensor:
        return self.optimiser.state[self.theta]["velocity"]

    def give_gradient(self, step: int) -> None:
        # Now and then large ones, which disconnect many; else such that the noise disconnects some
        # whose velocity brings them back.
        size = 1e-2 if step % 50 == 0 else 1e-6
        values = torch.randn(len(self.connected), generator=seeded(step)) * size
        self.bias.grad = torch.full((7,), float(values.sum()))
        if self.listed:
            self.theta.grad = torch.sparse_coo_tensor(
                self.connected[None], values, (SIZE,), is_coalesced=True, check_invariants=False
            )
        else:
            self.theta.grad = torch.zeros(SIZE)
            self.theta.grad[self.connected] = values

    def step(self, step: int) -> None:
        self.give_gradient(step)
        lr = self.optimiser.param_groups[0]["lr"]
        self.optimiser.step()
        self.schedule.step()
        source = seeded(10_000 + step)
        alive = add_noise(self.theta.data, self.connected, lr=lr, generator=source)
        moving = self.optimiser.moving(self.theta)
        assert (moving is None) != self.listed
        movers = (0, 0) if moving is None else (len(moving), int((self.theta[moving] > 0).sum()))
        result = sample_connectivity(
            self.theta.data,
            LAYERS,
            budget=BUDGET,
            strategy=STRATEGIES["random"],
            generator=source,
            connected=connected_entries(self.theta.data, alive=alive, others=moving),
        )
        self.connected = result.connected
        self.history.append((int(result.growth.sum()), result.surplus, *movers))

    def save_and_load(self) -> None:
        """Go on as a training that was ended and begun again: other objects, the same values."""
        state = copy.deepcopy((self.optimiser.state_dict(), self.schedule.state_dict()))
        self.theta = nn.Parameter(self.theta.detach().clone())
        self.bias = nn.Parameter(self.bias.detach().clone())
        self.optimiser, self.schedule = self.new_optimiser()
        self.optimiser.load_state_dict(state[0])
        self.schedule.load_state_dict(state[1])


def assert_same(ours: Training, theirs: Training) -> None:
    ours.optimiser.settle()
    assert torch.equal(bits(ours.theta), bits(theirs.theta))
    assert torch.equal(bits(ours.velocity), bits(theirs.velocity))
    assert torch.equal(bits(ours.bias), bits(theirs.bias))


def assert_same_training(*, settle_at=(), load_at=(), **options) -> list[tuple[int, ...]]:
    """Both forms with the same gradients; the listed one interrupted as asked. Its history."""
    ours, theirs = Training(True, **options), Training(False, **options)
    for step in range(ours.steps):
        ours.step(step)
        theirs.step(step)
        assert ours.history[-1][:2] == theirs.history[-1][:2], step
        assert torch.equal(ours.connected, theirs.connected), step
        assert torch.equal(ours.connected, connected_entries(ours.theta.data)), step
        if step in settle_at:
            assert_same(ours, theirs)
        if step in load_at:
            ours.save_and_load()
    assert_same(ours, theirs)
    return ours.history


def test_600_steps_with_two_drops_noise_growth_and_a_restart_have_the_same_bits(engine):
    history = assert_same_training(settle_at={0, 1, 57, 300, 301, 302, 555}, load_at={333, 334})
    growth, surplus, movers, revived = np.array(history).T
    assert growth.sum() > 1000
    assert revived.sum() > 100
    assert (surplus > 0).any()
    assert movers.max() > 0
    assert movers.max() < 0.02 * SIZE
    assert np.median(movers) < 0.005 * SIZE


@pytest.mark.parametrize(
    ("momentum", "decay"),
    [(0.0, 5e-4), (0.9, 0.0), (0.99, 5e-4), (0.99, 0.02), (0.5, 0.3), (0.0, 0.0)],
)
def test_any_momentum_and_decay_have_the_same_bits(engine, momentum, decay):
    history = assert_same_training(
        momentum=momentum, decay=decay, steps=120, settle_at={31}, load_at={77}
    )
    if momentum == 0:
        assert max(movers for _, _, movers, _ in history) == 0


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_few_steps_have_the_same_bits_without_settling_in_between(build, steps):
    assert_same_training(steps=steps)


def test_steps_without_a_gradient_change_nothing_in_either_form(engine):
    ours, theirs = Training(True), Training(False)
    for step in range(20):
        for training in (ours, theirs):
            training.step(step)
            training.theta.grad = training.bias.grad = None
            before = bits(training.theta).clone()
            training.optimiser.step()
            assert torch.equal(bits(training.theta), before)
        assert torch.equal(ours.connected, theirs.connected)
    assert_same(ours, theirs)


def test_ordinary_gradients_may_follow_listed_ones_and_the_other_way_round(engine):
    ours, theirs = Training(True), Training(False)
    for step in range(40):
        ours.listed = step // 5 % 2 == 0
        ours.step(step)
        theirs.step(step)
        assert torch.equal(ours.connected, theirs.connected), step
    assert_same(ours, theirs)


def test_gradients_of_two_passes_add_up(engine):
    theta = nn.Parameter(torch.tensor([1.0, -1.0, 2.0, 3.0]))
    twin = nn.Parameter(theta.detach().clone())
    places = torch.tensor([[0, 2, 3]])
    for parameter in (theta, twin):
        parameter.grad = torch.zeros(4) if parameter is twin else None
        for values in (torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, -0.5, 0.7])):
            if parameter is twin:
                parameter.grad[places[0]] += values
            else:
                more = torch.sparse_coo_tensor(
                    places, values, (4,), is_coalesced=True, check_invariants=True
                )
                parameter.grad = more if parameter.grad is None else parameter.grad + more
        DecoupledSGD([parameter], lr=0.1, momentum=0.9, decay=0.1).step()
    assert torch.equal(theta[places[0]], twin[places[0]])


def literal_steps(theta, velocity, *, momentum, keeps):
    """θ after every step without a gradient, in float32 NumPy."""
    theta, velocity, path = theta.copy(), velocity.copy(), []
    for keep in keeps:
        velocity = velocity * np.float32(momentum)
        theta = theta * np.float32(keep) + velocity
        path.append(theta)
    return path


@pytest.mark.parametrize(
    ("momentum", "decay"), [(0.9, 5e-4), (0.99, 0.0), (0.5, 0.1), (0.99, 0.05)]
)
def test_no_entry_that_its_velocity_connects_is_missed(build, momentum, decay):
    """Far from zero, close to it, and just within and beyond the reach of the velocity."""
    rng = np.random.default_rng(0)
    size, steps = 4000, 150
    velocity = (10.0 ** rng.uniform(-44, 1, size)).astype(np.float32)
    carried = momentum / (1 - momentum)  # how far without decay
    share = 10.0 ** rng.choice([-2, -0.1, -1e-3, -1e-6, 0, 1e-6, 1e-3, 0.3, 2, 9], size)
    theta = (-share * carried * velocity).astype(np.float32)
    keeps = [1 - decay * factor for factor in (1, 0.1, 0.01) for _ in range(steps // 3)]
    path = literal_steps(theta, velocity, momentum=momentum, keeps=keeps)
    ours = torch.from_numpy(theta.copy())
    listed = ListedSteps(
        ours, torch.from_numpy(velocity.copy()), momentum=momentum, smallest_keep=1 - decay
    )
    connected, revived = torch.empty(0, dtype=torch.int64), set()
    for keep, right in zip(keeps, path, strict=True):
        listed.step(connected, torch.zeros(len(connected)), keep=keep, rate=0.1)
        known = torch.cat([connected, listed.moving])
        connected = known[ours[known] > 0].sort().values
        assert connected.tolist() == np.flatnonzero(right > 0).tolist()
        assert bits(ours[connected]).tolist() == right[right > 0].view(np.int32).tolist()
        revived |= set(connected.tolist())
    listed.settle()
    np.testing.assert_array_equal(ours.numpy().view(np.int32), path[-1].view(np.int32))
    assert 0.1 * size < len(revived) < 0.99 * size


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99, 0.999])
def test_velocities_at_rest_among_the_smallest_numbers_have_the_same_bits(build, momentum):
    """A product of the smallest numbers is rounded to a whole number of them, often to itself."""
    smallest = np.arange(-700, 701).astype(np.int32)
    velocity = np.where(smallest < 0, -smallest | np.int32(-(2**31)), smallest).view(np.float32)
    velocity = np.tile(np.append(velocity, [np.float32(-0.0), 1e-37, -1e-38, 3e-3]), 3)
    velocity = velocity.astype(np.float32)
    theta = -np.repeat(np.array([0.5, 1e-37, 1e-44], np.float32), len(velocity) // 3)
    keeps = [1 - 5e-4 * factor for factor in (1, 0.1) for _ in range(40)]
    right = velocity.copy()
    for _ in keeps:
        right = right * np.float32(momentum)
    path = literal_steps(theta, velocity, momentum=momentum, keeps=keeps)
    dormant = path[-1] <= 0  # the others may be connected on the way
    ours, speed = torch.from_numpy(theta.copy()), torch.from_numpy(velocity.copy())
    listed = ListedSteps(ours, speed, momentum=momentum, smallest_keep=1 - 5e-4)
    nothing = torch.empty(0, dtype=torch.int64)
    for keep in keeps:
        listed.step(nothing, torch.empty(0), keep=keep, rate=0.1)
    listed.settle()
    assert dormant.mean() > 0.6
    same = ours.numpy().view(np.int32) == path[-1].view(np.int32)
    assert same[dormant].all()
    assert (speed.numpy().view(np.int32) == right.view(np.int32))[dormant].all()


def test_a_dormant_entry_that_is_connected_anew_keeps_the_velocity_of_its_missed_steps(build):
    theta, velocity = torch.tensor([-5.0, 1.0]), torch.tensor([0.5, 0.0])
    listed = ListedSteps(theta, velocity, momentum=0.5, smallest_keep=1.0)
    alive = torch.tensor([1])
    for _ in range(3):
        listed.step(alive, torch.zeros(1), keep=1.0, rate=0.1)
    assert listed.moving.tolist() == []
    theta[0] = 1e-12
    listed.step(torch.tensor([0, 1]), torch.tensor([-10.0, 0.0]), keep=1.0, rate=0.1)
    assert velocity[0] == 0.5**5 + 1.0  # 4 steps of 1/2, and then the gradient's
    assert theta[0] == np.float32(1e-12) + velocity[0]


@pytest.mark.parametrize("settle_first", [False, True])
def test_settling_between_a_birth_and_its_first_step_leaves_the_newborn_alone(build, settle_first):
    theta, velocity = torch.tensor([-5.0, 1.0]), torch.tensor([0.5, 0.0])
    listed = ListedSteps(theta, velocity, momentum=0.5, smallest_keep=0.5)
    listed.step(torch.tensor([1]), torch.zeros(1), keep=0.5, rate=0.1)
    theta[0] = 1e-12
    if settle_first:
        listed.settle()
        assert theta[0] == np.float32(1e-12)
        assert velocity[0] == 0.25
    listed.step(torch.tensor([0, 1]), torch.zeros(2), keep=0.5, rate=0.1)
    assert velocity[0] == 0.125
    assert theta[0] == np.float32(0.5e-12) + np.float32(0.125)


def test_settling_twice_or_before_any_step_changes_nothing(build):
    training = Training(True)
    training.optimiser.settle()
    for step in range(5):
        training.step(step)
    training.optimiser.settle()
    before = bits(training.theta).clone(), bits(training.velocity).clone()
    training.optimiser.settle()
    assert torch.equal(bits(training.theta), before[0])
    assert torch.equal(bits(training.velocity), before[1])


def test_a_step_is_noticed_by_what_remembers_the_state_of_theta(engine):
    training = Training(True)
    before = training.theta._version
    training.give_gradient(0)
    training.optimiser.step()
    assert training.theta._version > before
