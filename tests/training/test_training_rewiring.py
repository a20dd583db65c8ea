"""Whole trainings through Lightning against a loop written from the thesis, section 2."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.toys_training import CLASSES, DECAY, LR, MOMENTUM, SEED, batches, body, fit, network
from torch import nn
from torch.nn import functional as F

from rewire.connectivity.random_subset import choose_unconnected
from rewire.models.layout import lay_out, total_size
from rewire.models.sparse import SparseNetwork
from rewire.registry import OBJECTIVES, STRATEGIES
from rewire.rng import generator

SIZES = [108, 216, 480]
BOUNDS = [0, 108, 324, 804]


class PlainNorm(nn.BatchNorm2d):
    """BatchNorm as it is written: what it normalises with is what its running averages follow."""

    def forward(self, x):
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        self.running_mean = 0.9 * self.running_mean + 0.1 * mean.detach()
        self.running_var = 0.9 * self.running_var + 0.1 * variance.detach()
        self.num_batches_tracked += 1
        scale = self.weight / (variance + 1e-5).sqrt()
        return (x - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class Plain(nn.Module):
    """The toy network without any of the package's code; weights are arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = PlainNorm(4), PlainNorm(6)
        self.bias = nn.Parameter(torch.zeros(CLASSES))

    def forward(self, x, w):
        w1 = w[:108].view(4, 3, 3, 3).permute(0, 3, 1, 2)
        w2 = w[108:324].view(6, 3, 3, 4).permute(0, 3, 1, 2)
        x = F.max_pool2d(F.relu(self.norm1(F.conv2d(x, w1, padding=1))), 2)
        x = F.relu(self.norm2(F.conv2d(x, w2, padding=1)))
        return x.flatten(1) @ w[324:].view(CLASSES, 96).T + self.bias


def plain_loop(theta, sign, data, *, epochs, budget):
    """θ after every step, growth per layer and the trained parts; `random` strategy, float64."""
    model = Plain().double()
    variables = [theta.clone().requires_grad_(), *model.parameters()]
    velocity = [torch.zeros_like(v) for v in variables]
    total, step = epochs * len(data), 0
    path, growth = [], np.zeros(3, dtype=int)
    for _ in range(epochs):
        for x, y in data:
            f = 1.0 if step <= int(total / 2) else 0.1 if step <= int(total * 3 / 4) else 0.01
            theta = variables[0]
            connected_before = theta.detach() > 0
            w = torch.where(theta > 0, sign * theta, 0.0)
            gradients = torch.autograd.grad(F.cross_entropy(model(x, w), y), variables)
            with torch.no_grad():
                for var, v, g in zip(variables, velocity, gradients, strict=True):
                    var -= DECAY * f * var
                    v.mul_(MOMENTUM).sub_(LR * f * g)
                    var += v
                step += 1
                random = generator(SEED, "rewiring", step)
                count = int(connected_before.sum())
                noise = torch.randn(count, generator=random, dtype=torch.float64)
                theta[connected_before] += LR * f * 1e-6 * noise
                missing = max(0, budget - int((theta > 0).sum()))
                split = np.zeros(3, dtype=int)
                if missing:
                    weights = torch.tensor(SIZES, dtype=torch.float64)
                    draws = torch.multinomial(weights, missing, replacement=True, generator=random)
                    split = np.bincount(draws.numpy(), minlength=3)
                for layer, n in enumerate(split):
                    part = theta[BOUNDS[layer] : BOUNDS[layer + 1]]
                    free = int((part <= 0).sum())
                    if n:
                        part[choose_unconnected(part, int(n), free=free, generator=random)] = 1e-12
                growth += split
                path.append(theta.detach().clone())
    return path, growth, model


def test_six_steps_equal_the_plain_loop():
    model, data = network(dtype=torch.float64), batches(3, dtype=torch.float64)
    theta, sign = model.theta.detach().clone(), model.sign.clone()
    budget = int(0.15 * 804)
    expected, growth, plain = plain_loop(theta, sign, data, epochs=2, budget=budget)
    fitted = fit(model, data, epochs=2)

    assert fitted.gradient.lrs == pytest.approx([0.1] * 4 + [0.01, 0.001], rel=1e-12)
    assert len(fitted.whole.after) == len(expected) == 6
    for ours, theirs in zip(fitted.whole.after, expected, strict=True):
        assert torch.equal(ours > 0, theirs > 0)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-14)
    assert fitted.rewiring.growth.tolist() == growth.tolist()
    assert growth.sum() > budget - 79  # the first fill and more
    torch.testing.assert_close(model.body[8].bias, plain.bias)
    for ours, theirs in ((model.body[1], plain.norm1), (model.body[5], plain.norm2)):
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


SHORT = {"epsilon": 8 / 255, "step_size": 4 / 255, "steps": 2}


@pytest.mark.parametrize("strategy", list(STRATEGIES))
@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_every_strategy_trains_with_every_objective(strategy, objective):
    options = {} if objective == "natural" else SHORT
    model = network()
    fitted = fit(
        model, batches(3), epochs=2, strategy=strategy, objective=objective, options=options
    )
    budget, growth = fitted.rewiring.budget, 0
    signs, moved = model.sign.clone(), set()
    for before, middle, after, last in zip(
        fitted.whole.before,
        fitted.gradient.after,
        fitted.whole.after,
        fitted.whole.last,
        strict=True,
    ):
        born = after == torch.tensor(1e-12)
        connected = after > 0
        assert int(connected.sum()) >= budget
        assert last.surplus == int(connected.sum()) - budget
        if last.surplus:
            assert not born.any()
        # Re-connected entries were unconnected: dead after the gradient step and its noise.
        assert (middle[born] <= 1e-6).all()
        changed = (after != middle) & ~born
        assert (before[changed] > 0).all()  # noise only on what was connected before the step
        assert (after - middle)[changed].abs().max() < 6e-7  # 6 standard deviations at lr .1
        assert last.growth.tolist() == [int(layer.of(born).sum()) for layer in model.layers]
        assert last.per_layer.tolist() == [int(layer.of(connected).sum()) for layer in model.layers]
        assert torch.equal(last.connected, connected.nonzero()[:, 0])
        growth += last.growth
        moved.add(bool(changed.any()))
    assert moved == {True}
    assert fitted.rewiring.growth.tolist() == growth.tolist()
    assert all(np.isfinite(fitted.gradient.losses))
    assert torch.equal(model.sign, signs)
    for name, value in model.state_dict().items():
        assert torch.equal(value, fitted.initial[name]) == (name == "sign"), name


def test_noise_reaches_exactly_the_entries_connected_before_the_step():
    fitted = fit(network(dtype=torch.float64), batches(4, dtype=torch.float64), density=0.2)
    for before, middle, after in zip(
        fitted.whole.before, fitted.gradient.after, fitted.whole.after, strict=True
    ):
        born = after == 1e-12
        assert torch.equal((after != middle)[~born], (before > 0)[~born])


def test_a_surplus_is_counted_and_never_removed():
    # A budget below the initial connections: nothing is born and nothing is taken away.
    model = network(p_init=0.5)
    fitted = fit(model, batches(4), density=0.1)
    for middle, after, last in zip(
        fitted.gradient.after, fitted.whole.after, fitted.whole.last, strict=True
    ):
        assert int(last.growth.sum()) == 0
        assert last.surplus == int((after > 0).sum()) - 80 > 0
        assert abs(int((after > 0).sum()) - int((middle > 0).sum())) <= 2  # noise alone
    surpluses = [last.surplus for last in fitted.whole.last]
    assert fitted.rewiring.surplus_steps == 4
    assert fitted.rewiring.largest_surplus == max(surpluses)
    assert int(fitted.rewiring.growth.sum()) == 0


def test_an_exactly_met_budget_is_no_surplus():
    fitted = fit(network(), batches(1))
    assert fitted.rewiring.last.surplus == 0
    assert fitted.rewiring.surplus_steps == fitted.rewiring.largest_surplus == 0


def zero_vectors(theta, layers):
    """Brute force: columns of each layer's (out, inputs) matrix without a positive entry."""
    return [
        sum(not (layer.of(theta).view(layer.shape).flatten(1)[:, v] > 0).any() for v in range(n))
        for layer in layers
        for n in [int(np.prod(layer.shape[1:]))]
    ]


def test_history_rows_equal_a_count_by_hand():
    model, steps = network(), 3
    fitted = fit(model, batches(steps), epochs=2, validation=batches(2, seed=1))
    rows, layers = fitted.history.rows, model.layers
    assert len(rows) == len(fitted.lines) == 2
    for number, row in enumerate(rows):
        assert list(row) == [
            "epoch",
            "step",
            "train_loss",
            "train_clean_accuracy",
            "validation_accuracy",
            "validation_loss",
            "connected",
            "births",
            "turnover",
            "zero_vectors",
            *(f"density_{layer.name}" for layer in layers),
        ]
        inside = slice(steps * number, steps * (number + 1))
        theta = fitted.whole.after[inside][-1]
        growth = [int(last.growth.sum()) for last in fitted.whole.last]
        assert (row["epoch"], row["step"]) == (number + 1, steps * (number + 1))
        assert row["train_loss"] == pytest.approx(np.mean(fitted.whole.losses[inside]), abs=2e-6)
        assert row["connected"] == int((theta > 0).sum())
        assert row["births"] == sum(growth[inside])
        assert row["turnover"] == sum(growth[: inside.stop]) / fitted.rewiring.budget
        total = 27 + 36 + 96
        assert row["zero_vectors"] == pytest.approx(100 * sum(zero_vectors(theta, layers)) / total)
        for layer in layers:
            density = float((layer.of(theta) > 0).double().mean())
            assert row[f"density_{layer.name}"] == pytest.approx(density, rel=1e-12)
        assert fitted.lines[number].startswith(
            f"epoch {number + 1}/2  loss {row['train_loss']:.3f}"
        )
        assert f"validation {row['validation_accuracy']:.1f} %" in fitted.lines[number]

    # The last row's validation, from the trained network.
    model.eval()
    pairs = [(model(x).detach(), y) for x, y in batches(2, seed=1)]
    correct = sum(int((logits.argmax(1) == y).sum()) for logits, y in pairs)
    assert rows[-1]["validation_accuracy"] == pytest.approx(100 * correct / 24, abs=1e-4)
    loss = F.cross_entropy(torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs]))
    assert rows[-1]["validation_loss"] == pytest.approx(float(loss), abs=1e-5)


def test_zero_vectors_of_an_epoch_without_validation():
    rows = fit(network(), batches(2)).history.rows
    assert "validation_accuracy" not in rows[0]
    assert rows[0]["zero_vectors"] > 0


@pytest.mark.parametrize("log_every", [1, 2])
def test_tracker_receives_steps_and_epochs(log_every):
    fitted = fit(network(), batches(4), log_every=log_every)
    steps = [(step, m) for step, m in fitted.tracker.logged if "train/loss" in m]
    assert [step for step, _ in steps] == list(range(log_every, 5, log_every))
    for step, metrics in steps:
        assert metrics["train/loss"] == pytest.approx(fitted.whole.losses[step - 1])
        last = fitted.whole.last[step - 1]
        assert metrics["train/growth"] == int(last.growth.sum())
        assert metrics["train/surplus"] == last.surplus
    final = {f"epoch/{name}": value for name, value in fitted.history.rows[0].items()}
    assert fitted.tracker.logged[-1] == (4, final)


def test_growth_fill_layers_that_start_empty():
    model = SparseNetwork(body(), p_init=[0.5, 0.0, 0.1], generator=generator(0, "test"))
    fitted = fit(model, batches(2), strategy="weighted", density=0.3)
    assert int(fitted.whole.last[0].per_layer[1]) > 0
    assert (fitted.whole.last[0].growth > 0).all()


def test_toy_layout_is_the_one_that_the_loop_assumes():
    assert [layer.size for layer in network().layers] == SIZES
    assert total_size(lay_out([("a", (4, 3, 3, 3)), ("b", (6, 3, 3, 4)), ("c", (5, 96))])) == 804
