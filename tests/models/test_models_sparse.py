"""The θ/sign parameterisation: forward and gradients, lent weights, reading and writing weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from helpers.plain_networks import images, plain_small, small_body, small_network, with_weights_of
from torch import nn

from rewire.errors import InputError
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.rng import generator


def lent(model):
    return [m.weight for m in model.modules() if isinstance(m, SparseConv2d | SparseLinear)]


def test_weights_are_sign_times_theta_where_theta_is_positive():
    model = small_network()
    theta, sign = model.theta.detach().numpy(), model.sign.numpy()
    expected = np.where(theta > 0, sign * theta, 0.0)
    given = model.weights()
    assert list(given) == ["0", "3", "7"]
    assert [tuple(w.shape) for w in given.values()] == [(4, 3, 3, 3), (6, 1, 1, 4), (5, 54)]
    assert np.array_equal(np.concatenate([w.numpy().ravel() for w in given.values()]), expected)
    assert (theta < 0).any()
    assert (theta == 0).any()


def test_forward_and_gradients_equal_a_plain_network():
    model = small_network()
    plain = with_weights_of(model, plain_small().double())
    x, y = images(8), torch.arange(8) % 5
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    logits, expected = model(inputs[0]), plain(inputs[1])
    torch.testing.assert_close(logits, expected)
    nn.functional.cross_entropy(logits, y).backward()
    nn.functional.cross_entropy(expected, y).backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)

    dense = [m.weight.grad for m in plain.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    stored = [g.permute(0, 2, 3, 1) if g.ndim == 4 else g for g in dense]
    dw = torch.cat([g.reshape(-1) for g in stored])
    # dL/dθ = s·dL/dw where θ > 0, else 0 (also at θ = 0 exactly, and for negative θ).
    torch.testing.assert_close(
        model.theta.grad, torch.where(model.theta > 0, model.sign * dw, 0.0).detach()
    )
    assert (dw[model.theta <= 0] != 0).any()
    torch.testing.assert_close(model.body[7].bias.grad, plain[7].bias.grad)


def test_theta_gradient_is_that_of_autograd_through_where():
    model = small_network(1)
    theta = model.theta.detach().clone().requires_grad_()
    flat = torch.where(theta > 0, model.sign * theta, 0.0)
    first = flat[:108].view(4, 3, 3, 3).permute(0, 3, 1, 2)
    second = flat[108:132].view(6, 1, 1, 4).permute(0, 3, 1, 2)
    last = flat[132:].view(5, 54)
    batch_norm = nn.functional.batch_norm
    x = images(3)
    h = nn.functional.conv2d(x, first, padding=1)
    h = batch_norm(h, None, None, training=True).relu()
    h = nn.functional.conv2d(h, second, stride=2)
    h = batch_norm(h, None, None, training=True).relu()
    out = nn.functional.linear(h.flatten(1), last, model.body[7].bias)
    out.square().sum().backward()
    ours = model(x)
    torch.testing.assert_close(ours, out)
    ours.square().sum().backward()
    torch.testing.assert_close(model.theta.grad, theta.grad)
    assert (model.theta.grad[model.theta <= 0] == 0).all()


def test_newborn_entries_carry_gradients():
    model = small_network()
    entry = int((model.theta <= 0).nonzero()[40])
    model.theta.data[entry] = 1e-12
    model(images(4)).square().sum().backward()
    assert model.theta.grad[entry] != 0


def test_initial_connectivity_is_the_floor_of_the_fraction_in_each_layer():
    fractions = (0.37, 0.0, 1.0)
    model = SparseNetwork(small_body(), p_init=fractions, generator=generator(0, "test"))
    counts = [int((layer.of(model.theta) > 0).sum()) for layer in model.layers]
    assert counts == [39, 0, 270]  # ⌊.37·108⌋, none of 24, all of 270


@pytest.mark.parametrize(
    ("p_init", "message"),
    [
        ((0.5, 0.5), r"p_init has 2 values for 3 sparse layers \(0, 3, 7\)"),
        ((0.5, -0.1, 0.5), r"p_init of layer '3' is -0\.1\. Allowed: 0 to 1"),
        ((0.5, 0.5, 1.01), r"p_init of layer '7' is 1\.01"),
        ((float("nan"), 0.5, 0.5), r"p_init of layer '0' is nan"),
    ],
)
def test_p_init_is_checked(p_init, message):
    with pytest.raises(InputError, match=message):
        SparseNetwork(small_body(), p_init=p_init, generator=generator(0, "test"))


def test_one_materialisation_serves_several_forwards():
    model, parts = small_network(), (images(4, seed=1), images(4, seed=2))
    expected = torch.zeros_like(model.theta)
    for x in parts:
        model.zero_grad()
        model(x).square().sum().backward()
        expected += model.theta.grad
    model.zero_grad()
    with model.materialised():
        weights = lent(model)
        total = model(parts[0]).square().sum()
        model.theta.data.add_(100.0)  # too late: the weights are fixed for the whole block
        total = total + model(parts[1]).square().sum()
        model.theta.data.sub_(100.0)
        assert all(a is b for a, b in zip(lent(model), weights, strict=True))
    total.backward()  # one graph, gradients add up; also after the block
    torch.testing.assert_close(model.theta.grad, expected)


def test_nested_blocks_keep_the_outer_weights():
    model = small_network()
    with model.materialised():
        outer = lent(model)
        with model.materialised():
            assert all(a is b for a, b in zip(lent(model), outer, strict=True))
        with model.materialised(detach=True):
            inner = lent(model)
            assert not any(w.requires_grad for w in inner)
            assert [w.data_ptr() for w in inner] == [w.data_ptr() for w in outer]
            with model.materialised():  # stays cut inside
                assert not any(w.requires_grad for w in lent(model))
        assert all(a is b for a, b in zip(lent(model), outer, strict=True))
    assert lent(model) == [None] * 3


def test_detached_blocks_have_no_graph_to_theta():
    model = small_network()
    x = images(2).requires_grad_()
    with model.materialised(detach=True):
        detached = model(x)
        (from_detached,) = torch.autograd.grad(detached.square().sum(), x)
    (from_graph,) = torch.autograd.grad(model(x).square().sum(), x)
    torch.testing.assert_close(from_detached, from_graph)
    model.zero_grad()
    for p in model.body.parameters():
        p.requires_grad_(False)
    with model.materialised(detach=True):
        assert not model(images(2)).requires_grad


@pytest.mark.parametrize("detach", [False, True])
def test_weights_are_released_also_after_an_exception(detach):
    model = small_network()

    def fail():
        with model.materialised(detach=detach):
            assert all(w is not None for w in lent(model))
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert lent(model) == [None] * 3
    with pytest.raises(RuntimeError, match=r"size|shape|channels"):
        model(torch.zeros(1, 2, 6, 6, dtype=torch.float64))
    assert lent(model) == [None] * 3


def test_weights_are_cast_once_under_autocast():
    model = small_network().float()
    x = images(4, dtype=torch.float32)
    model(x).square().sum().backward()
    exact = model.theta.grad.clone()
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with model.materialised():
            assert {w.dtype for w in lent(model)} == {torch.bfloat16}
        loss = model(x).float().square().sum()
    loss.backward()
    assert model.theta.grad.dtype == torch.float32
    connected = model.theta > 0
    assert (model.theta.grad[~connected] == 0).all()
    similarity = nn.functional.cosine_similarity(model.theta.grad, exact, dim=0)
    assert similarity > 0.99
    with torch.autocast("cpu", enabled=False), model.materialised():
        assert {w.dtype for w in lent(model)} == {torch.float32}


def test_weights_in_another_type_follow_the_signs():
    model = small_network().float()

    def lent_sign_bits() -> list[torch.Tensor]:
        with torch.autocast("cpu", dtype=torch.bfloat16), model.materialised():
            return [weight.sign() for weight in lent(model)]

    first = lent_sign_bits()
    model.set_weights({name: -weight for name, weight in model.weights().items()})
    assert all(torch.equal(a, -b) for a, b in zip(first, lent_sign_bits(), strict=True))
    state = model.state_dict()
    model.load_state_dict(state | {"sign": -state["sign"]})
    assert all(torch.equal(a, b) for a, b in zip(first, lent_sign_bits(), strict=True))


def test_set_weights_undoes_weights():
    source, target = small_network(1), small_network(2)
    before = target.sign.clone()
    target.set_weights(source.weights())
    for a, b in zip(source.weights().values(), target.weights().values(), strict=True):
        assert torch.equal(a, b)
    connected = source.theta > 0
    assert torch.equal(target.theta > 0, connected)
    assert (target.theta >= 0).all()
    assert torch.equal(target.sign[connected], source.sign[connected])
    assert torch.equal(target.sign[~connected], before[~connected])


def test_weights_are_copies():
    model = small_network()
    given, before = model.weights(), model.theta.detach().clone()
    for weight in given.values():
        weight.zero_()
    assert torch.equal(model.theta, before)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_of_another_network_are_refused(change):
    model = small_network()
    weights = model.weights()
    if change == "missing":
        del weights["3"]
    elif change == "extra":
        weights["other"] = torch.zeros(2)
    else:
        weights["3"] = weights["3"].permute(0, 3, 1, 2)[:, :, 0]
    before = model.theta.detach().clone()
    with pytest.raises(InputError, match="weights of another network: got"):
        model.set_weights(weights)
    assert torch.equal(model.theta, before)


def test_deep_copies_are_independent():
    model = small_network()
    twin, x = copy.deepcopy(model), images(3)
    expected = model.eval()(x).detach()
    twin.eval()
    twin.theta.data.zero_()
    twin.sign.neg_()
    torch.testing.assert_close(model(x), expected)
    assert not torch.equal(twin(x), expected)
    with twin.materialised():
        assert lent(model) == [None] * 3
        assert all(w is not None for w in lent(twin))
