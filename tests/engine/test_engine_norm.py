"""BatchNorm with ReLU and 2×2 max-pool in one pass, against PyTorch's modules in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.toys_engine import ROUNDING, STORAGES, assert_sums_close, relative, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rewire.engine.blocked import pack, unpack
from rewire.engine.ops import batch_norm
from rewire.engine.plan import Plan
from rewire.engine.steps import Weights
from rewire.models.norm import BatchNorm2d

NO_WEIGHTS = Weights((), [])
switches = st.booleans()


def body(channels, *, relu, pool, kind=nn.BatchNorm2d, **options):
    """BatchNorm with parameters and statistics as in mid-training."""
    norm = kind(channels, **options)
    source = seeded(channels)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(channels, generator=source) + 0.5)
        norm.bias.copy_(torch.randn(channels, generator=source))
        norm.running_mean.copy_(torch.randn(channels, generator=source))
        norm.running_var.copy_(torch.rand(channels, generator=source) + 0.3)
    return nn.Sequential(norm, *[nn.ReLU()] * relu, *[nn.MaxPool2d(2)] * pool)


def grid(shape, *, seed, step=1 / 8):
    """Values k·step, of which some are equal: bfloat16 holds them, and none lies near a decision.

    A ReLU decides where scale·z + shift changes its sign, which a value of a coarse grid meets to
    within rounding once in ten thousand channels; equal pixels tie exactly.
    """
    return (torch.randn(shape, generator=seeded(seed)) / step).round() * step


def passed(network, x, gradient):
    """(output, gradients of x, weight and bias) of a plain network, or of the engine's plan."""
    x = x.detach().requires_grad_()
    out = network(x)
    norm = network.body[0] if isinstance(network, OnEngine) else network[0]
    return out.detach(), *torch.autograd.grad(out, (x, norm.weight, norm.bias), gradient.to(out))


class OnEngine:
    """The engine's form of a body without sparse layers."""

    def __init__(self, body, storage=torch.float32):
        self.body, self.storage, self.plan = body, storage, Plan(body)

    def __call__(self, x):
        return self.plan(x, NO_WEIGHTS, self.storage)


def allowed_errors(network, x, gradient):
    """Sums of the sizes of all terms of the output and of the three gradients."""
    norm = copy.deepcopy(network[0])
    mean = x.mean((0, 2, 3)) if norm.training else norm.running_mean
    var = x.var((0, 2, 3), unbiased=False) if norm.training else norm.running_var
    inverse = (var + norm.eps).rsqrt()

    def of(values):
        return values.detach()[:, None, None]

    unit = (x - of(mean)).abs() * of(inverse)
    factor = of(norm.weight).abs()
    out = factor * (x.abs() + of(mean).abs()) * of(inverse) + of(norm.bias).abs()
    after = out.requires_grad_()
    # The gradient of |y|: every term that a decision may have sent here.
    pooled = nn.functional.max_pool2d(after, 2) if isinstance(network[-1], nn.MaxPool2d) else after
    spread = torch.zeros_like(x)
    if pooled is after:
        spread += gradient.abs()
    else:
        up = gradient.abs().repeat_interleave(2, 2).repeat_interleave(2, 3)
        spread[:, :, : up.shape[2], : up.shape[3]] = up
    total, products = spread.sum((0, 2, 3)), (spread * unit).sum((0, 2, 3))
    dz = spread.clone()
    if norm.training:
        count = x.numel() // x.shape[1]
        dz += of(total) / count + unit * of(products) / count
    return pooled.detach(), dz * factor * of(inverse), products, total


@pytest.mark.parametrize("storage", STORAGES, ids=str)
@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    train=switches,
    relu=switches,
    pool=switches,
    channels=st.integers(1, 5),
    image=st.tuples(st.integers(2, 7), st.integers(2, 7)),
    images=st.integers(1, 70),
    seed=st.integers(0, 2**16),
)
def test_outputs_and_gradients_are_those_of_pytorchs_modules(
    build, storage, train, relu, pool, channels, image, images, seed
):
    network = body(channels, relu=relu, pool=pool).train(train)
    exact = copy.deepcopy(network).double()
    x = grid((images, channels, *image), seed=seed)
    shape = network(x).shape
    network.load_state_dict(exact.state_dict())
    gradient = grid(shape, seed=seed + 1)
    terms = allowed_errors(exact, x.double(), gradient.double())
    theirs = passed(exact, x.double(), gradient.double())
    ours = passed(OnEngine(network, storage), x, gradient)
    for number, parts in enumerate(zip(ours, theirs, terms, strict=True)):
        assert_sums_close(*parts, storage if number < 2 else torch.float32)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNorm2d])
@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    images=st.integers(1, 40),
    image=st.tuples(st.integers(1, 5), st.integers(2, 5)),
    momentum=st.sampled_from([0.1, 0.5, 1.0]),
    eps=st.sampled_from([1e-5, 1e-3]),
    seed=st.integers(0, 2**16),
)
def test_running_statistics_follow_as_the_modules_do(
    build, kind, images, image, momentum, eps, seed
):
    network = body(3, relu=True, pool=False, kind=kind, momentum=momentum, eps=eps)
    exact = copy.deepcopy(network).double()
    engine = OnEngine(network)
    for number in range(3):
        x = torch.randn(images, 3, *image, generator=seeded(seed + number)) + 2
        engine(x)
        exact(x.double())
    for name, buffer in exact[0].named_buffers():
        given = getattr(network[0], name)
        torch.testing.assert_close(given.double(), buffer.double(), rtol=1e-6, atol=1e-6)
    assert network[0].num_batches_tracked == 3
    before = copy.deepcopy(network[0].state_dict())
    network.eval()
    engine(x)
    assert all(torch.equal(before[name], value) for name, value in network[0].state_dict().items())


@pytest.mark.parametrize(
    ("mean", "std"), [(0, 1), (1000, 1), (-3, 1e-3), (1000, 0.05), (1e-6, 1e-6)]
)
def test_statistics_are_those_of_two_passes_where_the_mean_is_large(build, mean, std):
    """Off by what one rounding of the mean to float32 makes, a few times; squared in variances."""
    x = torch.randn(200, 4, 15, 15, generator=seeded(0)) * std + mean
    ones, none = torch.ones(4), torch.zeros(4)
    _, given_mean, variance = batch_norm(
        pack(x, torch.float32), ones, none, eps=0, relu=False, pool=False
    )
    right = x.double().mean((0, 2, 3)), x.double().var((0, 2, 3), unbiased=False)
    away, rounding = (given_mean.double() - right[0]).abs().max(), abs(mean) * 2**-24
    assert away <= 1e-6 * std + rounding
    assert relative(variance, right[1]) < 1e-6 + (8 * rounding / std) ** 2
    # Σx²/n − mean² in float32 would have lost everything.
    if mean == 1000 and std < 1:
        naive = x.square().mean((0, 2, 3)) - x.mean((0, 2, 3)).square()
        assert relative(naive, right[1]) > 1


@pytest.mark.parametrize(("mean", "std"), [(100, 0.1), (-1000, 1)])
def test_normalising_around_a_large_mean_is_as_accurate_as_in_pytorch(build, mean, std):
    x = torch.randn(50, 4, 7, 7, generator=seeded(0)) * std + mean
    network = body(4, relu=False, pool=False)
    exact, dense = copy.deepcopy(network).double(), copy.deepcopy(network)
    gradient = torch.randn(x.shape, generator=seeded(1))
    right = passed(exact, x.double(), gradient.double())
    theirs, ours = passed(dense, x, gradient), passed(OnEngine(network), x, gradient)
    for a, b, c in zip(ours, theirs, right, strict=True):
        assert relative(a, c) <= 8 * relative(b, c) + 1e-6


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("train", [False, True])
def test_gradients_are_the_slopes_of_the_output(build, train, relu, pool):
    """Along random directions, by central differences of the float32 outputs.

    Pixels of a channel are 1/64 apart, so that the largest of four stays it; directions on which a
    ReLU changes its mind are left out.
    """
    network = body(3, relu=relu, pool=pool).train(train)
    engine, norm = OnEngine(network), network[0]
    source = seeded(2)
    ranks = torch.stack([torch.randperm(19 * 20, generator=source) for _ in range(3)], 1)
    x = ((ranks - 190) / 64).view(19, 5, 4, 3).permute(0, 3, 1, 2)
    variables = [x, norm.weight.detach().clone(), norm.bias.detach().clone()]
    gradient = torch.randn(engine(x).shape, generator=source)
    _, *slopes = passed(engine, x, gradient)

    def output(x, weight, bias):
        with torch.no_grad():
            norm.weight.copy_(weight)
            norm.bias.copy_(bias)
            return engine(x).double()

    for number, slope in enumerate(slopes):
        judged = 0
        for _ in range(20):
            direction = torch.randn(variables[number].shape, generator=source).clamp(-2, 2)
            ahead, back = ([v.clone() for v in variables] for _ in range(2))
            ahead[number] += 2**-12 * direction
            back[number] -= 2**-12 * direction
            ahead, back = output(*ahead), output(*back)
            if relu and ((ahead > 0) != (back > 0)).any():
                continue
            judged += 1
            measured = float(((ahead - back) * gradient).sum()) / 2**-11
            expected = float((slope.double() * direction).sum())
            assert abs(measured - expected) < 1e-3 * float(slope.norm() * direction.norm())
        assert judged


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_of_equal_pixels_the_first_gets_the_gradient(build, storage):
    network = body(1, relu=True, pool=True).eval()
    network[0].weight.data.fill_(1)
    network[0].bias.data.fill_(10)
    x = torch.zeros(20, 1, 4, 5)
    x[:, :, 2:, 2:4] = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    expected = torch.zeros_like(x)
    expected[:, :, 0, [0, 2]] = 1
    expected[:, :, 2, 0] = 1
    expected[:, :, 2, 3] = 1
    engine = OnEngine(network, storage)
    x.requires_grad_()
    (given,) = torch.autograd.grad(engine(x).sum(), x)
    assert torch.equal(given != 0, expected != 0)


def test_relu_and_pool_are_taken_along_only_where_nobody_else_sees_what_is_between(build):
    class Branched(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.relu, self.pool = nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)

        def forward(self, x):
            normed = self.norm(x)
            positive = self.relu(normed)
            return self.pool(positive), positive.mean() + normed.mean()

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.branched = Branched()

        def forward(self, x):
            pooled, mean = self.branched(x)
            return pooled + mean

    network = Sum()
    exact = copy.deepcopy(network).double()
    x = torch.randn(9, 3, 6, 6, generator=seeded(0))
    given = Plan(network)(x, NO_WEIGHTS, torch.float32)
    torch.testing.assert_close(given.double(), exact(x.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "after",
    [
        [nn.MaxPool2d(3)],
        [nn.MaxPool2d(2, stride=1)],
        [nn.MaxPool2d(2, padding=1)],
        [nn.MaxPool2d(2, ceil_mode=True)],
        [nn.AvgPool2d(2)],
        [nn.MaxPool2d(2), nn.ReLU()],
        [nn.ReLU(), nn.ReLU()],
        [nn.LeakyReLU()],
        [nn.MaxPool2d((2, 2))],
    ],
    ids=str,
)
@pytest.mark.parametrize("train", [False, True])
def test_what_else_follows_a_norm_is_computed_as_it_is(build, train, after):
    network = nn.Sequential(*body(3, relu=False, pool=False), *after).train(train)
    exact = copy.deepcopy(network).double()
    x = torch.randn(9, 3, 7, 6, generator=seeded(0))
    given = OnEngine(network)(x)
    torch.testing.assert_close(given.double(), exact(x.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"affine": False}, {"momentum": None}, {"track_running_stats": False}],
    ids=str,
)
@pytest.mark.parametrize("train", [False, True])
def test_norms_of_other_kinds_are_computed_as_they_are(build, train, options):
    network = nn.Sequential(nn.BatchNorm2d(3, **options), nn.ReLU()).train(train)
    exact = copy.deepcopy(network).double()
    x = torch.randn(9, 3, 7, 6, generator=seeded(0)) + 1
    engine = OnEngine(network)
    for _ in range(2):
        torch.testing.assert_close(engine(x).double(), exact(x.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNorm2d])
def test_one_value_per_channel_has_no_statistics(build, kind):
    network = nn.Sequential(kind(3))
    x = torch.randn(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        network(x)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        OnEngine(network)(x)
    assert unpack(pack(x, torch.float32)).equal(x)
    assert torch.isfinite(OnEngine(network.eval())(x)).all()
    assert max(ROUNDING.values()) < 1e-2
