"""BatchNorm re-estimation against statistics computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rewire.engine.choice import set_engine
from rewire.models.factory import build_model
from rewire.models.norm import BatchNorm2d
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.pruning.batchnorm import reestimate_batchnorm
from rewire.rng import generator


def make_model():
    body = nn.Sequential(
        SparseConv2d(3, 4, 3, padding=1),
        BatchNorm2d(4, momentum=0.1),
        nn.ReLU(),
        nn.Dropout(0.5),
        SparseConv2d(4, 6, 3, padding=1),
        BatchNorm2d(6, momentum=0.3),
        nn.ReLU(),
        nn.Flatten(),
        SparseLinear(6 * 25, 10),
    )
    random = generator(0, "test")
    model = SparseNetwork(body, p_init=[0.8, 0.5, 0.5], generator=random).double().eval()
    for norm in (body[1], body[5]):  # statistics of the unpruned network: they must not matter
        norm.running_mean.fill_(100.0)
        norm.running_var.fill_(50.0)
        norm.num_batches_tracked.fill_(77)
        norm.weight.data.uniform_(0.5, 2, generator=random)
        norm.bias.data.normal_(generator=random)
    return model


def make_batches(sizes=(5, 3, 8)):
    random = generator(1, "test")
    return [
        (torch.rand(n, 3, 5, 5, generator=random, dtype=torch.float64), torch.zeros(n).long())
        for n in sizes
    ]


def by_hand(model, batches):
    """Mean over the batches of each batch's mean and biased variance, for both layers."""
    first, second, _ = (
        w.permute(0, 3, 1, 2) if w.ndim == 4 else w for w in model.weights().values()
    )
    norm = model.body[1]
    collected = [[], []]
    for x, _ in batches:
        h = F.conv2d(x, first, padding=1).numpy()
        collected[0].append(h)
        mean = h.mean((0, 2, 3), keepdims=True)
        variance = h.var((0, 2, 3), keepdims=True)
        scale, shift = (p.detach().numpy()[None, :, None, None] for p in (norm.weight, norm.bias))
        h = np.maximum((h - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0)
        collected[1].append(F.conv2d(torch.tensor(h), second, padding=1).numpy())
    return [
        tuple(np.mean([f(h, (0, 2, 3)) for h in outputs], axis=0) for f in (np.mean, np.var))
        for outputs in collected
    ]


def test_statistics_are_the_plain_average_over_the_batches():
    model, batches = make_model(), make_batches()
    expected = by_hand(model, batches)
    reestimate_batchnorm(model, iter(batches))
    for norm, (mean, variance) in zip((model.body[1], model.body[5]), expected, strict=True):
        np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=1e-9)
        assert int(norm.num_batches_tracked) == 3


def test_order_of_the_batches_does_not_matter_and_twice_is_once():
    first, second = make_model(), make_model()
    batches = make_batches()
    reestimate_batchnorm(first, batches)
    reestimate_batchnorm(second, batches[::-1])
    reestimate_batchnorm(second, batches)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


def test_nothing_else_changes():
    model = make_model()
    model.body[5].train()  # modes of single modules come back
    model.body[0].train()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    reestimate_batchnorm(model, make_batches())
    assert [module.training for module in model.modules()] == modes
    assert [model.body[1].momentum, model.body[5].momentum] == [0.1, 0.3]
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != name.endswith(statistics), name
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("where", ["batches", "model"])
def test_modes_and_momentum_come_back_after_an_exception(where):
    model = make_model()
    model.body[1].train()
    modes = [module.training for module in model.modules()]

    def batches():
        yield make_batches()[0]
        if where == "batches":
            raise RuntimeError("no more images")
        yield torch.zeros(1, 2, 5, 5, dtype=torch.float64), torch.zeros(1).long()

    with pytest.raises(RuntimeError, match=r"no more images|channels"):
        reestimate_batchnorm(model, batches())
    assert [module.training for module in model.modules()] == modes
    assert [model.body[1].momentum, model.body[5].momentum] == [0.1, 0.3]


def test_a_network_without_batchnorm_is_left_alone():
    model = nn.Sequential(nn.Flatten(), nn.Linear(75, 2)).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    reestimate_batchnorm(model, make_batches())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_sparse_engine_gives_the_same_statistics():
    sets = [torch.rand(40, 3, 32, 32, generator=generator(2, "test", i)) for i in range(3)]
    found = []
    for engine in ("dense", "sparse"):
        model = build_model("vgg11", width=0.2, sparsity=0.9, seed=0).eval()
        assert set_engine(engine, model, torch.device("cpu")) == engine
        reestimate_batchnorm(model, [(x,) for x in sets])
        found.append({n: b.clone() for n, b in model.named_buffers() if "running" in n})
        assert not any(norm.training for norm in model.modules() if isinstance(norm, BatchNorm2d))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-6)
