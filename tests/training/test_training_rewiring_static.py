"""Trainings with sampling in fixed shapes, as on a GPU, and what their steps may not do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
import toys_training
from fake_gpu import NoCopies, NoWaiting, fake_gpu
from toys_training import batches, fit, network

import rewire.training.rewiring as rewiring_module
from rewire.connectivity.nearest import Search
from rewire.connectivity.sampling import BIRTH
from rewire.connectivity.static import STATIC_STRATEGIES
from rewire.connectivity.strategies import STRATEGIES, StrategyOptions
from rewire.errors import InputError
from rewire.models.layout import lay_out, total_size
from rewire.objectives import OBJECTIVES
from rewire.rng import generator
from rewire.training.rewiring import Rewiring

SHORT = {"epsilon": 8 / 255, "step_size": 4 / 255, "steps": 2}


class Static(Rewiring):
    """Sampling in fixed shapes on the CPU."""

    def __init__(self, **options):
        super().__init__(**options, static=True)


@pytest.fixture
def static(monkeypatch):
    monkeypatch.setattr(toys_training, "Rewiring", Static)


@pytest.mark.parametrize("strategy", STATIC_STRATEGIES)
@pytest.mark.parametrize("objective", ["natural", "trades"])
def test_every_step_keeps_the_budget(static, strategy, objective):
    options = {} if objective == "natural" else SHORT
    model = network()
    fitted = fit(
        model, batches(4), epochs=2, strategy=strategy, objective=objective, options=options
    )
    budget, births, late = fitted.rewiring.budget, 0, 0
    for before, middle, after, last in zip(
        fitted.whole.before,
        fitted.gradient.after,
        fitted.whole.after,
        fitted.whole.last,
        strict=True,
    ):
        born, connected = after == torch.tensor(BIRTH), after > 0
        late += max(0, budget - int(connected.sum()))
        assert last.surplus == max(0, int(connected.sum()) - budget)
        assert (middle[born] <= 1e-6).all()
        changed = (after != middle) & ~born
        assert (before[changed] > 0).all()  # noise only on what was connected before the step
        assert last.births.tolist() == [int(layer.of(born).sum()) for layer in model.layers]
        assert last.per_layer.tolist() == [int(layer.of(connected).sum()) for layer in model.layers]
        assert torch.equal(last.connected, connected.nonzero()[:, 0])
        births += last.births
    assert late == fitted.rewiring.late
    assert late <= 0.02 * int(births.sum())  # a toy is crowded; full-size layers are not
    assert fitted.rewiring.births.tolist() == births.tolist()
    assert int(births.sum()) > budget - 79  # the first fill and more
    # The history reads the same attributes as ever.
    assert [row["births"] for row in fitted.history.rows] == [
        sum(int(last.births.sum()) for last in fitted.whole.last[part])
        for part in (slice(0, 4), slice(4, 8))
    ]
    assert fitted.history.rows[-1]["connected"] == int((model.theta > 0).sum())


def test_a_surplus_is_counted_and_never_removed(static):
    fitted = fit(network(p_init=0.5), batches(4), density=0.1)
    surpluses = [int((after > 0).sum()) - 80 for after in fitted.whole.after]
    assert min(surpluses) > 0
    assert fitted.rewiring.surplus_steps == 4
    assert fitted.rewiring.largest_surplus == max(surpluses)
    assert int(fitted.rewiring.births.sum()) == fitted.rewiring.late == 0


class Walk:
    """A parameter that loses some connections in every step, without a network around it."""

    def __init__(self):
        layers = lay_out([("conv", (8, 3, 3, 8)), ("dense", (20, 30))])
        theta = torch.where(torch.rand(total_size(layers), generator=generator(0, "w")) < 0.1, 1, 0)
        self.known = None
        self.model = SimpleNamespace(
            theta=torch.nn.Parameter(theta.float()), layers=layers, know_connected=self.know
        )

    def know(self, connected):
        self.known = connected

    def go(self, callback, steps):
        optimiser = SimpleNamespace(param_groups=[{"lr": 0.1}])
        callback.on_train_start(None, self)
        for step in steps:
            callback.on_before_optimizer_step(None, self, optimiser)
            loss = torch.rand(self.model.theta.shape, generator=generator(step, "loss")) < 0.1
            self.model.theta.data[loss] = -0.1
            callback.on_train_batch_end(SimpleNamespace(global_step=step), self)


def callback(**changed):
    options = {"strategy": "l2", "options": StrategyOptions(), "budget": 150, "seed": 3}
    return Rewiring(**options | {"static": True} | changed)


def test_a_resumed_training_makes_the_same_steps_and_counts():
    whole, parts = Walk(), Walk()
    first = callback()
    whole.go(first, range(1, 9))
    before = callback()
    parts.go(before, range(1, 5))
    state = before.state_dict()
    assert all(isinstance(state[name], int) for name in state.keys() - {"births"})
    after = callback()
    after.load_state_dict(state)
    parts.go(after, range(5, 9))
    assert torch.equal(whole.model.theta, parts.model.theta)
    assert after.births.tolist() == first.births.tolist()
    for name in ("surplus_steps", "largest_surplus", "late"):
        assert getattr(after, name) == getattr(first, name)


def test_a_state_of_before_there_were_late_births_is_read():
    state = callback().state_dict()
    del state["late"]
    loaded = callback()
    loaded.load_state_dict(state)
    assert loaded.late == 0


class Watch(pl.Callback):
    """Everything between the start of a batch and the end of the last callback must not wait."""

    def __init__(self):
        self.mode, self.steps = None, 0

    def on_train_batch_start(self, *args):
        self.mode = NoWaiting()
        self.mode.__enter__()


class Unwatch(pl.Callback):
    def __init__(self, watch):
        self.watch = watch

    def on_train_batch_end(self, *args):
        self.watch.mode.__exit__(None, None, None)
        self.watch.steps += 1


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_no_training_step_waits_between_logged_steps(static, monkeypatch, objective):
    watch, made = Watch(), toys_training.pl.Trainer

    def trainer(*, callbacks, **options):
        kept = [c for c in callbacks if not isinstance(c, toys_training.Snapshots)]
        return made(callbacks=[watch, *kept, Unwatch(watch)], **options)

    monkeypatch.setattr(toys_training.pl, "Trainer", trainer)
    options = {} if objective == "natural" else SHORT
    fit(network(), batches(3), objective=objective, options=options, log_every=100)
    assert watch.steps == 3


def test_the_callback_leaves_everything_on_the_gpu(monkeypatch):
    monkeypatch.setattr(rewiring_module, "generator", lambda *args, **options: None)
    layers = network().layers
    for strategy in STATIC_STRATEGIES:
        chosen = callback(strategy=strategy)
        with fake_gpu():
            theta = torch.empty(total_size(layers), device="cuda")
            module = SimpleNamespace(
                model=SimpleNamespace(theta=SimpleNamespace(data=theta), layers=layers)
            )
            chosen.births = torch.zeros(3, dtype=torch.int64, device="cuda")
            chosen.on_train_start(None, module)
            with NoCopies():
                for step in (1, 2, 3):
                    chosen.on_train_batch_end(SimpleNamespace(global_step=step), module)
        assert chosen.births.device.type == "cuda"


def test_the_cpu_keeps_the_ordinary_form_unless_told_otherwise():
    walk = Walk()
    for static, expected in ((None, torch.int64), (False, torch.int64), (True, torch.bool)):
        chosen = callback(static=static)
        walk.go(chosen, [1])
        assert chosen._connected.dtype == expected


@pytest.mark.parametrize(
    ("strategy", "metric"), [("vector", "euclidean"), ("l2", "eq3"), ("weighted", "eq3")]
)
def test_what_has_no_static_form_is_refused_or_made_in_the_ordinary_one(strategy, metric):
    options = StrategyOptions(search=Search(metric=metric))
    with pytest.raises(InputError, match=rf"'{strategy}' with metric '{metric}'.*random, l2"):
        callback(strategy=strategy, options=options)
    walk, chosen = Walk(), callback(strategy=strategy, options=options, static=None)
    walk.go(chosen, [1, 2])
    assert int((walk.model.theta > 0).sum()) == 150


def test_every_registered_strategy_can_be_asked_for():
    for name in STRATEGIES:
        assert callback(strategy=name, static=None).strategy is STRATEGIES[name]
