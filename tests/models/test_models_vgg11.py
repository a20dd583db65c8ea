"""The thesis's VGG11: its printed sizes, its initialisation, and the function that it computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.plain_networks import images, plain_vgg11, with_weights_of
from scipy import stats
from torch import nn

from rewire.models.factory import build_model
from rewire.models.layout import connection_budget, total_size
from rewire.models.vgg import FlattenChannelsLast

SIZES = [1_728, 73_728, 294_912, 589_824, 1_179_648, *[2_359_296] * 3, 524_288, 65_536, 2_560]
VECTORS = [27, 576, 1_152, 2_304, 2_304, *[4_608] * 3, 2_048, 256, 256]
SHAPES = [
    (64, 3, 3, 3),
    (128, 3, 3, 64),
    (256, 3, 3, 128),
    (256, 3, 3, 256),
    (512, 3, 3, 256),
    (512, 3, 3, 512),
    (512, 3, 3, 512),
    (512, 3, 3, 512),
    (256, 2048),
    (256, 256),
    (10, 256),
]
P_INIT = [0.6, 0.2, *[0.5 * (1 - 0.99)] * 8, 0.6]


@pytest.fixture(scope="module")
def vgg11():
    return build_model("vgg11", sparsity=0.99, seed=3).eval()


def test_layers_have_the_printed_sizes_and_vectors(vgg11):
    assert [layer.shape for layer in vgg11.layers] == SHAPES
    assert [layer.size for layer in vgg11.layers] == SIZES
    assert [layer.vectors for layer in vgg11.layers] == VECTORS
    assert [layer.offset for layer in vgg11.layers] == [sum(SIZES[:i]) for i in range(len(SIZES))]
    assert total_size(vgg11.layers) == vgg11.theta.numel() == 9_810_112
    assert sum(layer.vectors for layer in vgg11.layers) == 22_747
    # "Layer 8" of the thesis is the dense layer after the convolutions.
    assert vgg11.layers[8].name == "dense1"


@pytest.mark.parametrize(("sparsity", "budget"), [(0.99, 98_101), (0.95, 490_505)])
def test_budgets(sparsity, budget):
    assert connection_budget(sum(SIZES), sparsity) == budget


def test_batchnorm_and_biases(vgg11):
    norms = [m for m in vgg11.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [shape[0] for shape in SHAPES[:8]]
    # The running average keeps .9 of its old value: TensorFlow's momentum .9, PyTorch's .1.
    assert all((norm.eps, norm.momentum) == (1e-5, 0.1) for norm in norms)
    biases = {name: p for name, p in vgg11.named_parameters() if "bias" in name}
    dense = {f"body.dense{i}.bias": n for i, n in ((1, 256), (2, 256), (3, 10))}
    norm_biases = {f"body.norm{i + 1}.bias": SHAPES[i][0] for i in range(8)}
    assert {name: p.numel() for name, p in biases.items()} == dense | norm_biases
    assert all((biases[name] == 0).all() for name in dense)


def test_what_is_trained(vgg11):
    trained = sum(p.numel() for p in vgg11.parameters() if p.requires_grad)
    norm_parameters = 2 * sum(shape[0] for shape in SHAPES[:8])
    assert trained == 9_810_112 + norm_parameters + 256 + 256 + 10
    assert vgg11.state_dict().keys() >= {"theta", "sign"}


def test_initial_connections(vgg11):
    for layer, p in zip(vgg11.layers, P_INIT, strict=True):
        theta = layer.of(vgg11.theta.detach())
        assert int((theta > 0).sum()) == math.floor(p * layer.size), layer.name
        assert int((theta != 0).sum()) == int((theta > 0).sum())  # exactly 0 elsewhere


def test_initial_values_are_half_truncated_he_normal(vgg11):
    for layer in vgg11.layers:
        theta = layer.of(vgg11.theta.detach())
        values = theta[theta > 0].double().numpy()
        fan_in = math.prod(layer.shape[1:])
        std = math.sqrt(2 / fan_in)
        # θ is |x|, x of mean 0: its root mean square is the standard deviation of x.
        assert np.sqrt((values**2).mean()) == pytest.approx(std, rel=3 / math.sqrt(len(values)))
        # scipy's truncated normal, scaled to the standard deviation after truncation at ±2.
        cut = std / stats.truncnorm.std(-2, 2)
        assert values.max() <= 2 * cut * (1 + 1e-6)
        folded = stats.kstest(values, lambda v, s=cut: 2 * stats.truncnorm.cdf(v / s, -2, 2) - 1)
        assert folded.pvalue > 1e-3, layer.name


def test_initial_connections_are_spread_uniformly(vgg11):
    layer = vgg11.layers[5]
    connected = (layer.of(vgg11.theta) > 0).view(layer.shape)
    for axis in range(4):
        counts = connected.sum([i for i in range(4) if i != axis]).numpy()
        assert stats.chisquare(counts).pvalue > 1e-3


def test_signs_are_balanced_and_unrelated_to_connectivity(vgg11):
    assert vgg11.sign.abs().eq(1).all()
    for signs in (vgg11.sign, vgg11.sign[vgg11.theta > 0]):
        assert abs(int((signs > 0).sum()) / len(signs) - 0.5) < 4 * 0.5 / math.sqrt(len(signs))


def test_two_by_two_positions_remain_before_the_dense_part(vgg11):
    seen = {}
    hook = vgg11.body.flatten.register_forward_hook(
        lambda module, inputs, output: seen.update(inputs=inputs[0].shape, output=output.shape)
    )
    with torch.no_grad():
        vgg11(images(1, 32, dtype=torch.float32))
    hook.remove()
    assert seen == {"inputs": (1, 512, 2, 2), "output": (1, 2048)}


@pytest.mark.parametrize("training", [False, True])
def test_computes_what_a_plain_vgg11_with_its_weights_computes(training):
    model = build_model("vgg11", sparsity=0.95, seed=5)
    random = torch.Generator().manual_seed(0)
    for module in model.modules():  # statistics and biases that matter
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=random).mul_(0.1)
            module.running_var.uniform_(0.01, 0.1, generator=random)
        if getattr(module, "bias", None) is not None:
            module.bias.data.normal_(generator=random)
    plain = with_weights_of(model, plain_vgg11(), positions=(2, 2)).train(training)
    x = images(4, 32, dtype=torch.float32)
    with torch.no_grad():
        ours, theirs = model.train(training)(x), plain(x)
    assert ours.shape == (4, 10)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_dense_part_sees_height_width_channel(channels_last):
    x = torch.arange(2 * 5 * 3 * 4.0).view(2, 5, 3, 4)
    stored = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    flat = FlattenChannelsLast()(stored)
    assert flat.shape == (2, 60)
    for (b, c, h, w), value in np.ndenumerate(x.numpy()):
        assert flat[b, (h * 4 + w) * 5 + c] == value
    assert (flat.data_ptr() == stored.data_ptr()) == channels_last


def test_the_seed_decides_everything():
    first, again, other = (
        build_model("vgg11", sparsity=0.9, seed=seed, width=0.1) for seed in (1, 1, 2)
    )
    torch.manual_seed(123)  # global state must not matter
    assert torch.equal(first.theta, again.theta)
    assert torch.equal(first.sign, again.sign)
    assert not torch.equal(first.theta, other.theta)
    assert not torch.equal(first.sign, other.sign)
