"""Lanes of a block without an image never enter a result, and images never mix."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager

import pytest
import torch
from helpers.toys_engine import STORAGES, layer, random_mask, seeded
from torch import nn
from torch.nn import functional as F

from rewire.engine import buffers
from rewire.engine.blocked import Blocked, pack, unpack
from rewire.engine.network import use_engine
from rewire.engine.ops import affine, batch_norm, convolve
from rewire.models.factory import build_model

SIZES = [1, 5, 16, 17, 31, 33]


@contextmanager
def poisoned():
    """Memory is full of NaN whenever it is given out: the engine's own, and PyTorch's."""
    taken = buffers._Buffer.__init__

    def take(self, size):
        taken(self, size)
        ctypes.memset(self.address, 0xFF, self.size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buffers._Buffer, "__init__", take)
        torch.use_deterministic_algorithms(True)  # fills what `torch.empty` returns, too
        try:
            assert torch.empty(1).isnan()
            assert buffers.empty((3,), torch.bfloat16).isnan().all()
            yield
        finally:
            torch.use_deterministic_algorithms(False)


def small(name):
    first = {"p_init_first": (0.2,)} if name == "resnet18" else {}
    model = build_model(name, sparsity=0.8, seed=0, width=0.125, image_size=16, **first)
    return use_engine(model)


def results(name, images, storage, *, train):
    """Logits, all gradients and statistics of a new network after one pass."""
    model = small(name).train(train)
    source = seeded(images)
    x = torch.rand(images, 3, 16, 16, generator=source).requires_grad_()
    y = torch.randint(0, 10, (images,), generator=source)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=storage == torch.bfloat16):
        logits = model(x)
    F.cross_entropy(logits, y).backward()
    found = {"logits": logits.detach(), "x": x.grad, "theta": model.theta.grad._values()}
    found |= {name: p.grad for name, p in model.named_parameters() if not p.grad.is_sparse}
    return found | {name: buffer.clone() for name, buffer in model.named_buffers()}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("storage", STORAGES, ids=str)
@pytest.mark.parametrize("name", ["vgg11", "resnet18"])
def test_no_result_depends_on_what_the_memory_held_before(build, name, storage, train):
    # One image of one pixel, as in the last convolutions, has no statistics.
    sizes = SIZES[1:] if train else SIZES
    for images in sizes if name == "vgg11" else sizes[1:3]:
        clean = results(name, images, storage, train=train)
        with poisoned():
            given = results(name, images, storage, train=train)
        assert given.keys() == clean.keys()
        for key, value in clean.items():
            assert torch.isfinite(value).all()
            assert torch.equal(given[key], value), (key, images)


def with_garbage(x, storage, value):
    """Blocked images with a value in all lanes that have none."""
    packed = pack(x, storage)
    data = packed.data.detach().clone()
    *_, lane = data.shape
    data[-1, ..., len(x) - (len(data) - 1) * lane :] = value
    assert len(x) % lane == 0 or (data == value).any()
    return Blocked(data.requires_grad_(), len(x))


@pytest.mark.parametrize("value", [1e18, -1e18])
@pytest.mark.parametrize("storage", STORAGES, ids=str)
@pytest.mark.parametrize("images", [1, 15, 20])
def test_layers_do_not_see_garbage_in_lanes_without_an_image(build, images, storage, value):
    x = torch.randn(images, 6, 5, 4, generator=seeded(0))
    of = layer(random_mask((7, 3, 3, 6), density=0.3, seed=0), (5, 4), padding=1, storage=storage)
    weight, bias = (torch.randn(6, generator=seeded(n)).requires_grad_() for n in (1, 2))
    norms = [
        lambda x, relu=relu, pool=pool, at=at: batch_norm(
            x, weight, bias, eps=1e-5, relu=relu, pool=pool, statistics=at
        )
        for relu in (False, True)
        for pool in (False, True)
        for at in (None, (torch.zeros(6), torch.ones(6)))
    ]
    values = of.values.requires_grad_()
    for operation, wanted in [
        (lambda x: (convolve(x, values, of.part),), (values,)),
        (lambda x: (affine(x, weight.detach(), bias.detach(), relu=True, pool=True),), ()),
        *[(norm, (weight, bias)) for norm in norms],
    ]:
        found = []
        for filling in (0.0, value):
            blocked = with_garbage(x, storage, filling)
            out, *statistics = operation(blocked)
            y = unpack(out)
            gradient = torch.randn(y.shape, generator=seeded(3))
            before, *others = torch.autograd.grad(y, (blocked.data, *wanted), gradient)
            lanes_left = before[-1, ..., images - (len(before) - 1) * before.shape[-1] :]
            assert not lanes_left.any()
            found.append([y, before, *statistics, *others])
        for clean, given in zip(*found, strict=True):
            assert torch.equal(clean, given)


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_in_evaluation_mode_an_image_has_the_bits_that_it_has_alone(build, storage):
    """Logits and gradient, wherever in a batch it is and whatever the others are."""
    model = small("vgg11").eval()
    x = torch.rand(37, 3, 16, 16, generator=seeded(0))
    gradient = torch.randn(37, 10, generator=seeded(1))

    def passed(rows):
        here = x[rows].requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=storage == torch.bfloat16):
            logits = model(here)
        return logits.detach(), torch.autograd.grad(logits, here, gradient[rows])[0]

    together = passed(torch.arange(37))
    for rows in (
        torch.tensor([20]),
        torch.tensor([36, 3]),
        torch.randperm(37, generator=seeded(2)),
    ):
        for ours, all_ in zip(passed(rows), together, strict=True):
            assert torch.equal(ours, all_[rows])


def test_an_image_that_is_not_finite_spoils_no_other(build):
    model = small("vgg11").eval()
    x = torch.rand(18, 3, 16, 16, generator=seeded(0))
    clean = model(x).detach()
    for value in (float("nan"), float("inf")):
        spoiled = x.clone()
        spoiled[4] = value
        others = [i for i in range(18) if i != 4]
        assert torch.equal(model(spoiled).detach()[others], clean[others])


def test_means_and_sums_of_a_last_block_of_one_image_are_its_own(build):
    """The 17th image is alone in its block: statistics are those of 17 images, not of 32."""
    x = torch.full((17, 2, 3, 3), 5.0)
    x[16] = 22.0
    norm = nn.BatchNorm2d(2)
    _, mean, variance = batch_norm(
        pack(x, torch.float32), norm.weight, norm.bias, eps=1e-5, relu=False, pool=False
    )
    assert torch.equal(mean, torch.full((2,), 6.0))
    assert torch.equal(variance, torch.full((2,), 16.0))
