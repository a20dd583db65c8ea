"""Every registered network, its size counted by hand, and what `build_model` refuses."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.plain_networks import images

from rewire.errors import InputError
from rewire.models.factory import build_model
from rewire.models.layout import connection_budget, total_size
from rewire.models.sparse import SparseConv2d, SparseLinear
from rewire.registry import MODELS

# kernel² · in · out of every layer, written down from the papers' tables.
VGG16 = (
    9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256)
    + 9 * (256 * 512 + 5 * 512 * 512)
    + 2048 * 256
    + 256 * 256
    + 256 * 10
)
RESNET18 = (
    9 * 3 * 64
    + 9 * 4 * 64 * 64
    + (9 * (64 * 128 + 3 * 128 * 128) + 64 * 128)
    + (9 * (128 * 256 + 3 * 256 * 256) + 128 * 256)
    + (9 * (256 * 512 + 3 * 512 * 512) + 256 * 512)
    + 512 * 10
)
COUNTS = {"vgg11": (9_810_112, 11), "vgg16": (VGG16, 16), "resnet18": (RESNET18, 21)}
PARAMETERS_RESNET18 = 11_173_962  # the usual CIFAR ResNet-18, with BatchNorm and bias


def test_every_network_has_its_size_written_down():
    assert set(COUNTS) == set(MODELS)


@pytest.mark.parametrize("name", list(MODELS))
def test_number_of_weights(name):
    body = MODELS[name](width=1.0, classes=10, image_size=32)
    sparse = [m for m in body.modules() if isinstance(m, SparseConv2d | SparseLinear)]
    weights = sum(math.prod(m.storage_shape) for m in sparse)
    assert (weights, len(sparse)) == COUNTS[name]
    if name == "resnet18":
        others = sum(p.numel() for p in body.parameters())
        assert weights + others == PARAMETERS_RESNET18


@pytest.mark.parametrize("name", list(MODELS))
def test_forward_and_backward(name):
    model = build_model(name, sparsity=0.8, seed=0, width=0.125, p_init_last=(0.2,))
    logits = model(images(3, 32, dtype=torch.float32))
    assert logits.shape == (3, 10)
    assert logits.std() > 0
    logits.square().sum().backward()
    for layer in model.layers:
        gradient, connected = layer.of(model.theta.grad), layer.of(model.theta) > 0
        assert (gradient[~connected] == 0).all()
        assert (gradient != 0).any(), layer.name
    assert all(p.grad is not None for p in model.parameters())


def test_resnet_strides_and_shortcuts():
    model = build_model("resnet18", sparsity=0.8, seed=0, width=0.125).eval()
    shapes = {}
    for name, module in model.body.named_children():
        module.register_forward_hook(
            lambda m, i, output, name=name: shapes.update({name: tuple(output.shape[1:])})
        )
    with torch.no_grad():
        model(images(1, 32, dtype=torch.float32))
    for number, (channels, size) in enumerate([(8, 32), (16, 16), (32, 8), (64, 4)], start=1):
        for block in (1, 2):
            assert shapes[f"stage{number}_{block}"] == (channels, size, size)
    assert shapes["pool"] == (64, 1, 1)
    kernels = {layer.name: layer.shape[1:3] for layer in model.layers if len(layer.shape) == 4}
    one_by_one = [name for name, kernel in kernels.items() if kernel == (1, 1)]
    assert one_by_one == [f"stage{n}_1.shortcut.conv" for n in (2, 3, 4)]


@pytest.mark.parametrize(
    ("width", "first", "hidden"), [(0.5, 32, 128), (0.1, 6, 26), (1.5, 96, 384), (0.001, 1, 1)]
)
def test_width_scales_every_layer_but_the_ends(width, first, hidden):
    body = MODELS["vgg11"](width=width, classes=7, image_size=32)
    assert body.conv1.storage_shape == (first, 3, 3, 3)
    assert body.norm1.num_features == first
    assert body.dense1.storage_shape[0] == hidden
    assert body.dense3.storage_shape == (7, hidden)


def test_image_size_decides_the_features():
    body = MODELS["vgg11"](width=1.0, classes=10, image_size=64)
    assert body.dense1.storage_shape == (256, 4 * 4 * 512)


def test_initial_fractions_are_those_of_the_reference():
    model = build_model("vgg11", sparsity=0.9, seed=0, width=0.25)
    share = [float((layer.of(model.theta) > 0).float().mean()) for layer in model.layers]
    assert share == pytest.approx([0.6, 0.2, *[0.05] * 8, 0.6], abs=2e-3)
    connected = int((model.theta > 0).sum())
    assert connected < connection_budget(total_size(model.layers), 0.9)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError, match=r"unknown model 'vgg12'.*Allowed: resnet18, vgg11, vgg16"):
        build_model("vgg12", sparsity=0.9, seed=0)


@pytest.mark.parametrize("width", [0, -1.0, float("nan")])
def test_width_must_be_positive(width):
    with pytest.raises(InputError, match=r"model\.width is .*Allowed: above 0"):
        build_model("vgg11", sparsity=0.9, seed=0, width=width)


@pytest.mark.parametrize("sparsity", [0, 1, -0.5, 2, float("nan")])
def test_sparsity_must_lie_between_0_and_1(sparsity):
    with pytest.raises(InputError, match="sparsity is"):
        build_model("vgg11", sparsity=sparsity, seed=0, width=0.1)


def test_more_initial_connections_than_the_budget_are_refused():
    # The thin network's first and last layers alone exceed 1 % of it.
    with pytest.raises(InputError, match=r"connect \d+ weights, more than the budget of \d+ at"):
        build_model("vgg11", sparsity=0.99, seed=0, width=0.05)


def test_more_fractions_than_layers_are_refused():
    with pytest.raises(InputError, match="more than the 11 layers"):
        build_model("vgg11", sparsity=0.9, seed=0, width=0.1, p_init_first=[0.1] * 11)


@pytest.mark.parametrize("option", [{"p_init_first": [1.5]}, {"p_init_factor": -1.0}])
def test_fractions_outside_0_to_1_are_refused(option):
    with pytest.raises(InputError, match=r"p_init of layer 'conv\d' is"):
        build_model("vgg11", sparsity=0.9, seed=0, width=0.1, **option)
