"""BatchNorm2d: PyTorch's outputs, and the biased running variance of TensorFlow."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from rewire.models.factory import build_model
from rewire.models.norm import BatchNorm2d
from rewire.rng import generator

SHAPES = [(2, 3, 1, 1), (4, 3, 2, 2), (8, 5, 6, 6)]


def pair(features):
    """Our layer and PyTorch's with the same values that are not the initial ones."""
    ours, random = BatchNorm2d(features), generator(0, "test")
    for value in (ours.weight.data, ours.running_var):
        value.uniform_(0.5, 2, generator=random)
    for value in (ours.bias.data, ours.running_mean):
        value.normal_(generator=random)
    theirs = nn.BatchNorm2d(features)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def images(shape, *, channels_last=False, seed=1):
    x = torch.randn(shape, generator=generator(seed, "test")) * 3 + 1
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


def passed(norm, x, *, bf16=False):
    """Output and gradients of one pass."""
    x = x.bfloat16() if bf16 else x.clone()
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = norm(x)
    (y.float().sigmoid() * torch.arange(float(y.shape[1])).view(1, -1, 1, 1)).sum().backward()
    return [y.detach(), x.grad, norm.weight.grad, norm.bias.grad]


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_pytorchs_and_the_running_variance_is_biased(
    shape, channels_last, bf16
):
    ours, theirs = pair(shape[1])
    x = images(shape, channels_last=channels_last)
    mean, variance = ours.running_mean.clone(), ours.running_var.clone()
    for a, b in zip(passed(ours, x, bf16=bf16), passed(theirs, x, bf16=bf16), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    values = (x.bfloat16() if bf16 else x).double()
    mean = 0.9 * mean + 0.1 * values.mean((0, 2, 3)).float()
    variance = 0.9 * variance + 0.1 * values.var((0, 2, 3), correction=0).float()
    torch.testing.assert_close(ours.running_mean, mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.running_var, variance, rtol=1e-5, atol=1e-6)
    assert torch.equal(ours.running_mean, theirs.running_mean)
    assert int(ours.num_batches_tracked) == int(theirs.num_batches_tracked) == 1


def test_evaluation_is_pytorchs_and_moves_nothing():
    ours, theirs = pair(3)
    before = copy.deepcopy(ours.state_dict())
    x = images((4, 3, 5, 5))
    assert torch.equal(ours.eval()(x), theirs.eval()(x))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())
    assert list(before) == list(theirs.state_dict())


def test_without_scale_and_shift_it_evaluates_as_pytorch_does():
    ours, theirs = BatchNorm2d(3, affine=False).eval(), nn.BatchNorm2d(3, affine=False).eval()
    x = images((4, 3, 2, 2)).requires_grad_()
    assert torch.equal(ours(x), theirs(x))


def test_two_passes_before_one_backward_pass():
    """As adversarial training makes them: the second pass moves statistics the first one used."""
    ours, theirs = pair(3)
    for norm in (ours, theirs):
        (norm(images((4, 3, 5, 5))) * norm(images((4, 3, 5, 5), seed=2))).sum().backward()
    assert torch.equal(ours.weight.grad, theirs.weight.grad)


def test_without_a_momentum_it_is_the_plain_average():
    norm = BatchNorm2d(3, momentum=None)
    batches = [images((size, 3, 4, 4), seed=size) for size in (2, 5, 3)]
    for x in batches:
        norm(x)
    expected = torch.stack([x.var((0, 2, 3), correction=0) for x in batches]).mean(0)
    torch.testing.assert_close(norm.running_var, expected)


def test_one_value_per_channel_is_refused():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm2d(3)(torch.rand(1, 3, 1, 1))


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "resnet18"])
def test_all_networks_of_the_thesis_use_it(name):
    model = build_model(name, width=0.1, sparsity=0.9, seed=0)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert {type(norm) for norm in norms} == {BatchNorm2d}
