"""Surrogate gradients: the values of the network do not move, its backward pass does."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rewire.attacks.mode import attack_mode
from rewire.attacks.straight_through import filled_weights, straight_through
from rewire.errors import InputError
from rewire.models.factory import build_model
from rewire.models.sparse import SparseLinear, SparseNetwork
from rewire.rng import generator


def sparse_vgg(name: str = "vgg11") -> SparseNetwork:
    model = build_model(
        name=name, width=0.1, classes=10, image_size=32, sparsity=0.9, seed=1,
        p_init_first=(0.6, 0.2), p_init_last=(0.6,),
    )  # fmt: skip
    return model.eval()


def images() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=generator(0, "straight-through test"))


def input_gradient(model, x):
    with attack_mode(model), torch.enable_grad():
        x = x.clone().requires_grad_()
        logits = model(x)
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    return logits.detach(), gradient


@pytest.mark.parametrize("name", ["vgg11", "resnet18"])
@pytest.mark.parametrize("dormant", [0.0, 0.1])
def test_values_are_bitwise_the_same_and_everything_is_restored(name, dormant):
    model, x = sparse_vgg(name), images()
    plain, gradient = input_gradient(model, x)
    with straight_through(model, leak=0.5, dormant=dormant):
        inside, surrogate = input_gradient(model, x)
    after, again = input_gradient(model, x)
    assert torch.equal(plain, inside)
    assert not torch.allclose(gradient, surrogate)
    assert torch.equal(plain, after)
    assert torch.equal(gradient, again)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("inplace", [False, True])
def test_dead_relus_pass_the_share_of_the_gradient(inplace):
    source = generator(0, "two layers")
    first, second = torch.randn(6, 5, generator=source), torch.randn(6, generator=source)
    x = torch.randn(4, 5, generator=source)

    class Two(nn.Module):
        def forward(self, x):
            return (F.relu(x @ first.T, inplace=inplace) @ second)[:, None]

    with straight_through(Two(), leak=0.25):
        _, gradient = input_gradient(Two(), x)
    passed = torch.where(x @ first.T > 0, 1.0, 0.25)
    torch.testing.assert_close(gradient, (passed * second) @ first)


def test_unconnected_weights_have_their_share_of_the_energy():
    model = sparse_vgg()
    filled = filled_weights(model, share=0.1, seed=0)
    assert len(filled) == len(model.layers)
    with attack_mode(model):
        for module, weight in filled:
            absent = module.weight == 0
            torch.testing.assert_close(weight[~absent], module.weight[~absent], rtol=0, atol=0)
            energy = weight[absent].square().sum()
            torch.testing.assert_close(energy, 0.1 * module.weight.square().sum())
            assert weight[absent].abs().unique().numel() == 1
            assert 0.3 < (weight[absent] > 0).float().mean() < 0.7
    again = filled_weights(model, share=0.1, seed=0)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(filled, again, strict=True))
    other = filled_weights(model, share=0.1, seed=1)
    assert not torch.equal(filled[0][1], other[0][1])


def test_the_backward_pass_of_a_layer_goes_through_its_filled_weights():
    body = nn.Sequential(nn.Flatten(), SparseLinear(12, 4))
    model = SparseNetwork(body, p_init=[0.3], generator=generator(0, "one layer")).eval()
    x = torch.rand(2, 3, 2, 2, generator=generator(0, "its images"))
    ((_, weight),) = filled_weights(model, share=0.2, seed=0)
    with straight_through(model, leak=0.5, dormant=0.2):
        _, gradient = input_gradient(model, x)
    torch.testing.assert_close(gradient.flatten(1), weight[0].expand(2, -1))
    assert int((weight[0] != 0).sum()) == 12


def test_layers_without_gaps_stay_as_they_are():
    body = nn.Sequential(nn.Flatten(), SparseLinear(12, 4))
    model = SparseNetwork(body, p_init=[1.0], generator=generator(0, "dense"))
    assert filled_weights(model, share=0.1, seed=0) == []


@pytest.mark.parametrize("shares", [{"leak": 0.0}, {"leak": 1.5}, {"leak": 0.5, "dormant": -1}])
def test_shares_out_of_range_are_refused(shares):
    with pytest.raises(InputError), straight_through(nn.Identity(), **shares):
        pass
