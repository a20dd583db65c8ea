"""Sparse convolutions and dense layers against PyTorch's dense ones in float64."""

from __future__ import annotations

import pytest
import torch
from helpers.toys_engine import (
    STORAGES,
    SUM,
    assert_sums_close,
    layer,
    random_mask,
    relative,
    run_engine,
    run_exact,
    seeded,
    sums_of_sizes,
)
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rewire.engine.blocked import pack, unpack
from rewire.engine.ops import convolve, linear

densities = st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1.0)
seeds = st.integers(0, 2**16)
storages = st.sampled_from(STORAGES)
checked = settings(deadline=None, derandomize=True)


def random_images(shape, *, seed, memory="rows"):
    """Standard normal (B, C, H, W) in one of several memory layouts."""
    x = torch.randn(shape, generator=seeded(seed))
    if memory == "channels last":
        return x.contiguous(memory_format=torch.channels_last)
    if memory == "every second":
        return torch.stack([x, x + 100], -1).flatten(3)[..., ::2]
    if memory == "one image":
        return x[:1].expand(shape)
    return x


def compare(of, x, storage):
    """Outputs and both gradients are the exact ones of what is stored, but for stated errors."""
    gradient = torch.randn(output_shape(of, x), generator=seeded(1))
    given = run_engine(of, x, gradient, storage)
    kept = x.to(storage).float(), gradient.to(storage).float()
    exact, terms = run_exact(of, *kept), sums_of_sizes(of, *kept)
    for number, (ours, right, sizes) in enumerate(zip(given, exact, terms, strict=True)):
        # Gradients of weights are float32 whatever the storage.
        assert_sums_close(ours, right, sizes, torch.float32 if number == 2 else storage)


def output_shape(of, x):
    with torch.no_grad():
        weight = of.dense
        if weight.ndim == 2:
            return len(x), len(weight)
        return torch.nn.functional.conv2d(
            x.double(), weight, stride=of.stride, padding=of.padding
        ).shape


@pytest.mark.parametrize("storage", STORAGES, ids=str)
@settings(checked, max_examples=60)
@given(
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    image=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    images=st.integers(1, 40),
    density=densities,
    memory=st.sampled_from(["rows", "channels last", "every second", "one image"]),
    seed=seeds,
)
def test_any_convolution_and_its_gradients_are_those_of_the_dense_one(
    build, storage, channels, image, kernel, stride, padding, images, density, memory, seed
):
    assume(min(image) + 2 * padding >= kernel)
    inputs, outputs = channels
    mask = random_mask((outputs, kernel, kernel, inputs), density=density, seed=seed)
    of = layer(mask, image, stride=stride, padding=padding, storage=storage, seed=seed)
    x = random_images((images, inputs, *image), seed=seed, memory=memory)
    compare(of, x, storage)


@pytest.mark.parametrize("storage", STORAGES, ids=str)
@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "kernel", "stride", "padding", "density", "images"),
    [
        (3, 16, 32, 3, 1, 1, 0.6, 33),  # as the first convolution of VGG11
        (48, 64, 16, 3, 1, 1, 0.02, 17),
        (96, 80, 4, 3, 1, 1, 0.01, 130),
        (128, 128, 2, 3, 1, 1, 0.01, 64),  # several blocks of images at once
        (128, 96, 1, 3, 1, 1, 0.05, 129),  # only the middle tap sees anything
        (32, 48, 16, 3, 2, 1, 0.05, 20),  # as ResNet-18 halves its maps
        (32, 48, 15, 1, 2, 0, 0.2, 20),
        (8, 8, 33, 3, 1, 1, 0.3, 3),  # wider than any tile and odd
    ],
)
def test_convolutions_of_real_networks_are_those_of_the_dense_ones(
    build, storage, inputs, outputs, size, kernel, stride, padding, density, images
):
    mask = random_mask((outputs, kernel, kernel, inputs), density=density, seed=1)
    of = layer(mask, (size, size), stride=stride, padding=padding, storage=storage)
    compare(of, random_images((images, inputs, size, size), seed=2), storage)


@settings(checked, max_examples=60)
@given(
    inputs=st.integers(1, 300),
    outputs=st.integers(1, 70),
    images=st.integers(1, 150),
    density=densities,
    with_bias=st.booleans(),
    seed=seeds,
)
@example(inputs=1, outputs=1, images=1, density=1.0, with_bias=True, seed=0)
def test_any_dense_layer_and_its_gradients_are_those_of_pytorch(
    build, inputs, outputs, images, density, with_bias, seed
):
    of = layer(random_mask((outputs, inputs), density=density, seed=seed), seed=seed)
    source = seeded(seed)
    x = torch.randn(images, inputs, generator=source)
    gradient = torch.randn(images, outputs, generator=source)
    bias = torch.randn(outputs, generator=source) if with_bias else None
    given = run_engine(of, x, gradient, torch.float32, bias=bias)
    exact = run_exact(of, x, gradient, bias=bias)
    terms = sums_of_sizes(of, x, gradient, bias=bias)
    for ours, right, sizes in zip(given, exact, terms, strict=True):
        assert_sums_close(ours, right, sizes, torch.float32)


@pytest.mark.parametrize(
    ("storage", "error"), [(torch.float32, 5e-7), (torch.bfloat16, 4e-3)], ids=str
)
def test_a_layer_is_off_by_5e_7_in_float32_and_4e_3_stored_as_bfloat16(build, storage, error):
    """In all: operands are rounded, too."""
    mask = random_mask((64, 3, 3, 64), density=0.05, seed=3)
    of = layer(mask, (16, 16), padding=1, storage=storage)
    x = random_images((32, 64, 16, 16), seed=4)
    gradient = torch.randn(32, 64, 16, 16, generator=seeded(5))
    for ours, right in zip(
        run_engine(of, x, gradient, storage), run_exact(of, x, gradient), strict=True
    ):
        assert relative(ours, right) < error


def test_the_weights_of_a_pass_may_be_exchanged_for_others(build):
    mask = random_mask((5, 3, 3, 4), density=0.4, seed=0)
    of = layer(mask, (6, 5), padding=1)
    x = random_images((7, 4, 6, 5), seed=0)
    with torch.no_grad():
        first = unpack(convolve(pack(x, torch.float32), of.values, of.part))
        other = layer(mask, (6, 5), padding=1, seed=1)
        second = unpack(convolve(pack(x, torch.float32), other.values, other.part))
    assert relative(second, first) > 0.1
    compare(of, x, torch.float32)
    compare(other, x, torch.float32)


@pytest.mark.parametrize("wanted", ["x", "weights", "nothing"])
def test_only_gradients_that_are_asked_for_are_computed(build, wanted):
    of = layer(random_mask((5, 3, 3, 4), density=0.4, seed=0), (6, 5), padding=1)
    x = random_images((7, 4, 6, 5), seed=0).requires_grad_(wanted == "x")
    values = of.values.requires_grad_(wanted == "weights")
    out = unpack(convolve(pack(x, torch.float32), values, of.part))
    assert out.requires_grad == (wanted != "nothing")
    if wanted == "nothing":
        return
    gradient = torch.ones_like(out)
    (given,) = torch.autograd.grad(out, x if wanted == "x" else values, gradient)
    expected = run_engine(of, x, gradient, torch.float32)[1 if wanted == "x" else 2]
    assert torch.equal(given, expected)


def test_a_second_derivative_is_refused(build):
    of = layer(random_mask((5, 4), density=0.5, seed=0))
    x = torch.randn(3, 4, requires_grad=True)
    out = linear(x, of.values, None, of.part)
    (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("storage", STORAGES, ids=str)
@settings(checked, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 70), *[st.integers(1, 5)] * 3),
    memory=st.sampled_from(["rows", "channels last", "every second", "one image"]),
    seed=seeds,
)
def test_packing_and_back_rounds_to_the_storage_and_changes_nothing_else(
    build, storage, shape, memory, seed
):
    x = random_images(shape, seed=seed, memory=memory)
    packed = pack(x, storage)
    blocks, channels, height, width, lane = packed.data.shape
    assert (channels, height, width) == shape[1:]
    assert torch.equal(unpack(packed), x.to(storage).float())
    by_image = packed.data.permute(0, 4, 1, 2, 3).reshape(blocks * lane, *shape[1:])
    assert (by_image[len(x) :] == 0).all()


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, 1.0, 1.00390625, 1.01171875, -1.00390625, 3.38e38, 1e-40, float("inf")],
)
def test_bfloat16_is_rounded_to_the_nearest_with_ties_to_even(build, value):
    x = torch.full((1, 1, 1, 1), value)
    expected = x.to(torch.bfloat16)
    packed = pack(x, torch.bfloat16).data.view(-1)
    assert torch.equal(packed[:1].view(torch.int16), expected.view(-1).view(torch.int16))


def test_storing_a_sum_as_bfloat16_rounds_it_to_the_nearest_with_ties_to_even(build):
    """The kernels' own rounding, of sums and not of inputs: 1 + 2⁻⁸ and its like lie half way."""
    x = torch.tensor([1.0, 2.0**-8, 3 * 2.0**-8, -(2.0**-8)]).view(1, 4, 1, 1).expand(40, 4, 1, 1)
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]).bool().view(3, 1, 1, 4)
    of = layer(mask, storage=torch.bfloat16)
    ones = layer(mask, storage=torch.bfloat16)
    ones.part.forward[:, 1] = torch.ones(len(ones.part.forward)).view(torch.int32)
    out = unpack(convolve(pack(x, torch.bfloat16), torch.ones(of.part.size), ones.part))
    sums = torch.tensor([1 + 2.0**-8, 1 + 3 * 2.0**-8, -(2.0**-8)])
    assert torch.equal(out.view(40, 3), sums.to(torch.bfloat16).float().expand(40, 3))
    assert SUM < 2.0**-8
