"""DecoupledSGD and its schedule against the written update, in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rewire.training.optimiser import PIECE, DecoupledSGD, step_schedule

STEPS, LR, DECAY = 30, 0.1, 5e-3


def factor(step, total):
    """1, .1, .01: the old rate up to and including the iteration at a boundary."""
    return 1.0 if step <= int(0.5 * total) else 0.1 if step <= int(0.75 * total) else 0.01


def reference(variables, gradients, *, lr=LR, momentum=0.9, decay=DECAY):
    """var ← var − wd·f·var; v ← .9·v − lr·f·g; var ← var + v, f = 1, .1, .01."""
    variables = [v.copy() for v in variables]
    velocities = [np.zeros_like(v) for v in variables]
    for step, step_gradients in enumerate(gradients):
        f = factor(step, len(gradients))
        for var, v, g in zip(variables, velocities, step_gradients, strict=True):
            var -= decay * f * var
            v[:] = momentum * v - lr * f * g
            var += v
    return variables


def trained(variables, gradients, **options):
    parameters = [nn.Parameter(torch.tensor(v)) for v in variables]
    optimiser = DecoupledSGD(parameters, **{"lr": LR, "momentum": 0.9, "decay": DECAY} | options)
    schedule = step_schedule(optimiser, total_steps=len(gradients))
    rates = []
    for step_gradients in gradients:
        for parameter, g in zip(parameters, step_gradients, strict=True):
            parameter.grad = torch.tensor(g)
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return [p.detach().numpy() for p in parameters], rates


def problem(steps=STEPS, shapes=((50,), (3, 4)), seed=0):
    rng = np.random.default_rng(seed)
    variables = [rng.normal(size=shape) for shape in shapes]
    return variables, [[rng.normal(size=shape) for shape in shapes] for _ in range(steps)]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("decay", [0.0, DECAY, 0.5])
def test_thirty_steps_equal_numpy(momentum, decay):
    variables, gradients = problem()
    options = {"momentum": momentum, "decay": decay}
    given, _ = trained(variables, gradients, **options)
    for ours, expected in zip(given, reference(variables, gradients, **options), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)


def test_float32_steps_through_two_drops_have_the_bits_of_a_literal_loop():
    rng = np.random.default_rng(3)
    steps, momentum, shapes = 24, 0.9, ((301,), (3, 4), (PIECE + 1,))
    start = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    gradients = [[rng.normal(size=x.shape).astype(np.float32) for x in start] for _ in range(steps)]
    given, rates = trained(start, gradients, decay=5e-4)
    expected = [x.copy() for x in start]
    velocities = [np.zeros_like(x) for x in start]
    for step, step_gradients in enumerate(gradients):
        f = factor(step, steps)
        assert rates[step] == LR * f
        keep = np.float32(1 - 5e-4 * (LR * f) / LR)
        for x, v, g in zip(expected, velocities, step_gradients, strict=True):
            moved = g * np.float32(LR * f)
            v *= np.float32(momentum)
            v -= moved
            x *= keep
            x += v
    assert sorted(set(rates)) == [LR * 0.01, LR * 0.1, LR]
    for ours, theirs in zip(given, expected, strict=True):
        assert ours.dtype == np.float32
        assert ours.tobytes() == theirs.tobytes()


def test_it_is_pytorchs_momentum_until_the_rate_drops_and_then_keeps_the_old_steps_length():
    gradients = [[np.ones(1)]] * 4  # drops after the steps 2 and 3
    given, _ = trained([np.zeros(1)], gradients, lr=1.0, decay=0.0, momentum=0.5)
    other = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    sgd, path = torch.optim.SGD([other], lr=1.0, momentum=0.5), []
    for rate in (1.0, 1.0, 1.0, 0.1):
        other.grad = torch.ones(1, dtype=torch.float64)
        sgd.param_groups[0]["lr"] = rate
        sgd.step()
        path.append(float(other.detach()))
    assert path[2] == -(1 + 1.5 + 1.75)
    assert path[3] == pytest.approx(path[2] - 0.1 * 1.875)
    assert given[0][0] == pytest.approx(path[2] - (0.5 * 1.75 + 0.1))


def test_a_large_variable_of_any_memory_layout_makes_the_same_step():
    rows = nn.Parameter(torch.rand(2, PIECE))
    columns = nn.Parameter(rows.detach().t().contiguous().t())
    for parameter in (rows, columns):
        parameter.grad = torch.arange(2.0 * PIECE).view(2, PIECE)
        DecoupledSGD([parameter], lr=1e-6, momentum=0.9, decay=0.5).step()
    assert torch.equal(rows, columns)


def test_variables_without_a_gradient_are_left_alone():
    used, unused = (nn.Parameter(torch.ones(2)) for _ in range(2))
    optimiser = DecoupledSGD([used, unused], lr=LR, momentum=0.9, decay=0.5)
    used.grad = torch.zeros(2)
    optimiser.step()
    assert used.tolist() == [0.5, 0.5]
    assert unused.tolist() == [1.0, 1.0]
    assert list(optimiser.state) == [used]
    optimiser.zero_grad()
    optimiser.step()  # no gradient at all
    assert used.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("steps", "counts"),
    [(1, [1, 0, 0]), (2, [2, 0, 0]), (4, [3, 1, 0]), (7, [4, 2, 1]), (30, [16, 7, 7])],
)
def test_rate_drops_after_the_iterations_at_half_and_three_quarters(steps, counts):
    _, rates = trained(*problem(steps))
    factors = np.repeat([1.0, 0.1, 0.01], counts)
    assert rates == pytest.approx(LR * factors, rel=1e-12)


def test_decay_is_not_multiplied_by_the_learning_rate_and_reaches_entries_without_gradient():
    variables = [np.ones(4)]
    given, _ = trained(variables, [[np.zeros(4)]] * 8, lr=0.001)
    expected = (1 - DECAY) ** 5 * (1 - 0.1 * DECAY) ** 2 * (1 - 0.01 * DECAY)
    np.testing.assert_allclose(given[0], expected, rtol=1e-12)


def test_all_trainable_variables_decay():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = [p.detach().clone() + 1 for p in model.parameters()]
    for p in model.parameters():
        p.data.add_(1)
        p.grad = torch.zeros_like(p)
    DecoupledSGD(model.parameters(), lr=LR, momentum=0.9, decay=0.25).step()
    for p, was in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), 0.75 * was)


def test_decay_never_connects_dormant_entries_but_coupled_l2_would():
    # θ = −1 without gradients, in its steady state: only the decay acts on it.
    gradients = [[np.zeros(1)]] * 400
    given, _ = trained([np.full(1, -1.0)], gradients, decay=0.05)
    assert -1 < given[0][0] < 0

    coupled = nn.Parameter(torch.full((1,), -1.0, dtype=torch.float64))
    optimiser = torch.optim.SGD([coupled], lr=1.0, momentum=0.9, weight_decay=0.05)
    path = []
    for _ in range(400):
        coupled.grad = torch.zeros(1, dtype=torch.float64)
        optimiser.step()
        path.append(float(coupled.detach()))
    assert max(path) > 0  # the decay's own momentum overshoots: re-connected without a gradient


def test_momentum_is_kept_while_dormant():
    # A gradient long ago revives an entry: that is the reference's surplus, and not decay's doing.
    gradients = [[np.full(1, -0.2)], *[[np.zeros(1)]] * 9]
    given, _ = trained([np.full(1, -0.05)], gradients)
    assert given[0][0] > 0


def test_closure_runs_with_gradients_and_its_loss_is_returned():
    parameter = nn.Parameter(torch.tensor([2.0]))
    optimiser = DecoupledSGD([parameter], lr=0.5, momentum=0.0, decay=0.1)

    def closure():
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert float(optimiser.step(closure).detach()) == 4.0
    # The gradient (4) is taken before the decay (2 → 1.8), as in the reference.
    assert float(parameter.detach()) == pytest.approx(1.8 - 0.5 * 4)


def test_state_survives_saving():
    variables, gradients = problem(6)
    whole, _ = trained(variables, gradients)
    parts = [nn.Parameter(torch.tensor(v)) for v in variables]
    state = None
    for half in (gradients[:3], gradients[3:]):
        optimiser = DecoupledSGD(parts, lr=LR, momentum=0.9, decay=DECAY)
        schedule = step_schedule(optimiser, total_steps=6)
        if state:
            optimiser.load_state_dict(state[0])
            schedule.load_state_dict(state[1])
        for step_gradients in half:
            for parameter, g in zip(parts, step_gradients, strict=True):
                parameter.grad = torch.tensor(g)
            optimiser.step()
            schedule.step()
        state = optimiser.state_dict(), schedule.state_dict()
    for a, b in zip(parts, whole, strict=True):
        assert np.array_equal(a.detach().numpy(), b)
