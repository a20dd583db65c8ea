"""The compiled training step gives the numbers of the plain one.

`aot_eager` traces forward and backward as the compiler does and runs the result with ordinary
kernels: machine code needs a C++ compiler and half a minute.
"""

from __future__ import annotations

import copy

import pytest
import torch
from toys_training import batches, network

from rewire.connectivity.static import STATIC_STRATEGIES, place_births
from rewire.connectivity.static_tables import draw, static_tables
from rewire.errors import InputError
from rewire.models.layout import lay_out, total_size
from rewire.objectives import OBJECTIVES
from rewire.rng import generator
from rewire.training.compiled import CompiledNetwork, compile_mode, compiled_placement
from rewire.training.optimiser import DecoupledSGD

SHORT = {"epsilon": 8 / 255, "step_size": 4 / 255, "steps": 2}


def train(model, network_to_call, objective, *, bf16=False, steps=3):
    """Losses, gradients of the last step and the state after a few steps of SGD."""
    options = {} if objective == "natural" else SHORT
    optimiser = DecoupledSGD(model.parameters(), lr=0.1, momentum=0.9, decay=5e-4)
    losses = []
    model.train()
    for step, (x, y) in enumerate(batches(steps)):
        optimiser.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16), model.materialised():
            random = generator(0, "test", step)
            loss, _ = OBJECTIVES[objective](network_to_call, x, y, generator=random, **options)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    return torch.stack(losses), [p.grad for p in model.parameters()], model.state_dict()


def compare(objective, *, backend, bf16=False, rtol=1e-5, atol=1e-6):
    plain, model = network(), network()
    keys = list(model.state_dict())
    compiled = CompiledNetwork(model, backend=backend)
    expected = train(plain, plain, objective, bf16=bf16)
    given = train(model, compiled, objective, bf16=bf16)
    torch.testing.assert_close(given, expected, rtol=rtol, atol=atol)
    assert list(model.state_dict()) == keys
    assert all(module.training for module in model.modules())
    # Evaluation, of the plain model and through the compiled one.
    model.eval()
    (x, _), *_ = batches(1, seed=5)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), plain.eval()(x), rtol=1e-4, atol=1e-5)
        assert torch.equal(model(x), copy.deepcopy(model)(x))


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_losses_gradients_and_statistics_are_the_same(objective):
    compare(objective, backend="aot_eager")


def test_they_are_in_bf16_too():
    # Rounding of sums differs: two backward passes are added in another order.
    compare("natural", backend="aot_eager", bf16=True, rtol=2e-2, atol=2e-3)


def test_new_weights_in_every_step_need_no_new_compilation():
    model = network()
    compiled = CompiledNetwork(model, backend="aot_eager")
    torch._dynamo.utils.counters.clear()
    train(model, compiled, "trades", steps=3)
    # Clean logits and ascent of the attack, and the passes of the loss.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 3


def test_weights_are_lent_for_the_pass_only():
    model = network()
    compiled = CompiledNetwork(model, backend="aot_eager")
    (x, _), *_ = batches(1)
    compiled(x)
    assert all(getattr(module, "weight", None) is None for module in (model.body[0], model.body[8]))
    with compiled.materialised(detach=True):
        assert not model.body[0].weight.requires_grad


@pytest.mark.parametrize("strategy", STATIC_STRATEGIES)
def test_compiled_placement_is_the_same(strategy):
    layers = lay_out([("conv", (8, 3, 3, 6)), ("dense", (12, 20))])
    tables, budget = static_tables(layers), 120
    place = compiled_placement(backend="aot_eager")
    for seed in range(3):
        random = generator(seed, "test")
        theta = torch.rand(total_size(layers), generator=random) - 0.9
        options = {"budget": budget, "strategy": strategy, "ties": "random"}
        draws = draw(tables, capacity=60, generator=random, **options)
        expected = place_births(theta, tables, draws, **options)
        given = place(theta, tables, draws, **options)
        assert int(expected.births.sum()) > 20
        for name, value in vars(expected).items():
            assert torch.equal(getattr(given, name), value), name


def test_settings():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert compile_mode(False, cuda) is None
    assert (compile_mode(True, cpu), compile_mode(True, cuda)) == ("default", "reduce-overhead")
    assert compile_mode("default", cuda) == "default"
    with pytest.raises(InputError, match=r"trainer\.compile is 'fast'\. Allowed: false, true, def"):
        compile_mode("fast", cuda)
    with pytest.raises(InputError, match="needs a GPU"):
        compile_mode("reduce-overhead", cpu)
