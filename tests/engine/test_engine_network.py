"""Whole networks on the engine against the same networks by their modules in float64.

Where a sum decides about a ReLU or a maximum within rounding, a network may take the other side,
and its gradients are far away. So errors are judged beside those of the dense network in float32,
and in the second best of several batches.
"""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from helpers.toys_engine import modules, relative, seeded
from torch import nn
from torch.nn import functional as F

from rewire.engine.choice import set_engine
from rewire.engine.network import use_engine
from rewire.errors import InputError
from rewire.models.factory import build_model
from rewire.models.masked import MaskedNetwork
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.rng import generator

CPU = torch.device("cpu")
SPECS = {
    "vgg11": {"width": 0.25, "image_size": 32, "sparsity": 0.9},
    "vgg16": {"width": 0.125, "image_size": 16, "sparsity": 0.8},
    "resnet18": {"width": 0.125, "image_size": 16, "sparsity": 0.8, "p_init_first": (0.2,)},
}


def network(name="vgg11", *, seed=0, **changes):
    """Untrained, with BatchNorm parameters and statistics as in mid-training and dead weights."""
    model = build_model(name, seed=seed, **SPECS[name] | changes)
    source = seeded(seed)
    for norm in modules(model, nn.BatchNorm2d):
        norm.weight.data += 0.2 * torch.randn(norm.weight.shape, generator=source)
        norm.bias.data += 0.2 * torch.randn(norm.bias.shape, generator=source)
        norm.running_mean += 0.1 * torch.randn(norm.bias.shape, generator=source)
        norm.running_var *= 0.5 + torch.rand(norm.bias.shape, generator=source)
    for linear in modules(model, SparseLinear):
        linear.bias.data += 0.1 * torch.randn(linear.bias.shape, generator=source)
    if not isinstance(model, MaskedNetwork):
        model.theta.data[model.theta.data == 0] = -0.1
    return model


def images(count, size=32, *, seed=0):
    source = seeded(seed)
    x = torch.rand(count, 3, size, size, generator=source)
    return x, torch.randint(0, 10, (count,), generator=source)


def results(model, x, y):
    """Logits, all gradients and all statistics after one pass, by name."""
    model.zero_grad()
    x = x.detach().to(next(model.body.parameters()).dtype).requires_grad_()
    logits = model(x)
    F.cross_entropy(logits, y).backward()
    found = {"logits": logits.detach(), "x": x.grad}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        found[name] = gradient.to_dense() if gradient.is_sparse else gradient
    found |= {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}
    return found


def assert_as_accurate_as_dense(model, batches, *, factor=4):
    """In the second best of the batches, and 1e-5 more."""
    exact, engine = copy.deepcopy(model).double(), use_engine(copy.deepcopy(model))
    errors = []
    for x, y in batches:
        ours, theirs, right = (results(each, x, y) for each in (engine, model, exact))
        assert ours.keys() == theirs.keys() == right.keys()
        errors.append(
            [[relative(each[name], right[name]) for name in right] for each in (ours, theirs)]
        )
        assert int((ours["theta"] != 0).sum()) == int((theirs["theta"] != 0).sum())
    ours, theirs = torch.tensor(errors).sort(0).values[1]
    for name, a, b in zip(right, ours.tolist(), theirs.tolist(), strict=True):
        assert a <= factor * b + 1e-5, (name, a, b)


@pytest.mark.parametrize("name", SPECS)
def test_training_passes_are_as_accurate_as_the_dense_network(engine, name):
    size = SPECS[name]["image_size"]
    batches = [images(20 + seed, size, seed=seed) for seed in range(5)]
    assert_as_accurate_as_dense(network(name).train(), batches)


@pytest.mark.parametrize("name", SPECS)
def test_passes_in_evaluation_mode_are_as_accurate_as_the_dense_network(engine, name):
    size = SPECS[name]["image_size"]
    batches = [images(seed + 1, size, seed=seed) for seed in range(5)]
    assert_as_accurate_as_dense(network(name).eval(), batches)


@pytest.mark.parametrize("connectivity", ["static", "dense"])
def test_networks_of_fixed_connectivity_are_as_accurate(engine, connectivity):
    sparsity = 0.9 if connectivity == "static" else 0
    model = network(connectivity=connectivity, sparsity=sparsity, width=0.125).train()
    assert isinstance(model, MaskedNetwork)
    assert_as_accurate_as_dense(model, [images(20, seed=seed) for seed in range(5)])


def test_every_build_computes_the_same_network(build):
    assert_as_accurate_as_dense(
        network(width=0.125).train(), [images(33, seed=seed) for seed in range(5)]
    )


def test_under_autocast_logits_are_float32_and_as_close_as_the_dense_network_gets(engine):
    model = network(width=0.125).train()
    exact, sparse = copy.deepcopy(model).double(), use_engine(copy.deepcopy(model))
    errors = []
    for seed in range(3):
        x, y = images(64, seed=seed)
        right = results(exact, x, y)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ours, theirs = results(sparse, x, y), results(model, x, y)
        assert ours["logits"].dtype == torch.float32
        errors.append([(relative(each["logits"], right["logits"])) for each in (ours, theirs)])
        for name, gradient in ours.items():
            assert gradient.dtype == torch.float32
            assert torch.isfinite(gradient).all(), name
        similar = F.cosine_similarity(ours["theta"].double(), right["theta"], dim=0)
        assert similar > 0.9
    ours, theirs = torch.tensor(errors).median(0).values.tolist()
    assert ours < 1.5 * theirs
    assert ours < 0.05


@pytest.mark.parametrize("images_there", [1, 2, 15, 16, 17, 31, 33])
def test_batches_of_any_size_in_any_memory_layout_give_the_same_logits(build, images_there):
    model = use_engine(network(width=0.125)).eval()
    x, _ = images(images_there)
    with torch.no_grad():
        logits = model(x)
        one_by_one = torch.cat([model(image[None]) for image in x])
        torch.testing.assert_close(logits, one_by_one, rtol=1e-5, atol=1e-5)
        assert torch.equal(model(x.contiguous(memory_format=torch.channels_last)), logits)
        assert torch.equal(model(x.double()), logits)
        wide = torch.cat([x, x], 3)[..., :32]
        assert torch.equal(model(wide), logits)


def test_an_empty_batch_has_no_logits(build):
    model = use_engine(network(width=0.125)).eval()
    x = torch.empty(0, 3, 32, 32, requires_grad=True)
    logits = model(x)
    assert logits.shape == (0, 10)
    logits.sum().backward()
    assert x.grad.shape == x.shape
    assert not model.theta.grad.to_dense().any()


def test_a_frozen_norm_of_a_training_network_keeps_its_statistics(engine):
    model = network(width=0.125).train()
    model.body.norm2.eval()
    assert_as_accurate_as_dense(model, [images(20, seed=seed) for seed in range(5)])


# Weights: lent for a while, exchanged, and those of the graph.


def test_gradients_are_those_of_the_weights_of_the_pass_and_not_of_later_ones(engine):
    dense, sparse = network(width=0.125).train(), use_engine(network(width=0.125).train())
    (x, y), (other, _) = images(9), images(9, seed=1)
    gradients = []
    for model in (dense, sparse):
        loss = F.cross_entropy(model(x), y)
        kept = model.theta.detach().clone()
        model.theta.data.mul_(3)  # the same connections, other weights
        with torch.no_grad():
            model(other)
        model.theta.data.copy_(kept)
        loss.backward()
        gradients.append(model.theta.grad.to_dense())
    assert relative(gradients[1], gradients[0]) < 1e-3


def test_two_passes_with_weights_of_their_own_add_up(engine):
    dense, sparse = network(width=0.125).eval(), use_engine(network(width=0.125).eval())
    (x, y), (other, _) = images(9), images(9, seed=1)
    gradients = []
    for model in (dense, sparse):
        (F.cross_entropy(model(x), y) + F.cross_entropy(model(other), y)).backward()
        F.cross_entropy(model(x), y).backward()
        gradients.append(model.theta.grad.to_dense())
    assert relative(gradients[1], gradients[0]) < 1e-4


def test_after_every_change_of_theta_passes_see_it(engine):
    sparse, x = use_engine(network(width=0.125)).eval(), images(5)[0]
    dense = network(width=0.125).eval()
    changes = [
        lambda theta: theta.mul_(1.5),
        lambda theta: theta[::3].neg_(),
        lambda theta: theta[: 3 * 9 * 8].fill_(-1),  # an empty layer
        lambda theta: theta[: 3 * 9 * 8].fill_(0.1),  # a full one
        lambda theta: theta.clamp_(min=1e-12),
        lambda theta: theta.copy_(network(width=0.125, seed=1).theta.data),
    ]
    with torch.no_grad():
        for change in changes:
            for model in (dense, sparse):
                change(model.theta)
            torch.testing.assert_close(sparse(x), dense(x), rtol=1e-4, atol=1e-4)
        for model in (dense, sparse):
            model.load_state_dict(network(width=0.125, seed=2).state_dict())
        torch.testing.assert_close(sparse(x), dense(x), rtol=1e-4, atol=1e-4)


def test_one_materialisation_serves_several_passes(engine):
    model, (x, y) = use_engine(network(width=0.125)).eval(), images(6)
    expected = model(x).detach()
    with model.materialised():
        first = model(x)
        model.theta.data.mul_(2)  # too late: the weights are fixed for the whole block
        assert torch.equal(model(x), first)
        with model.materialised(detach=True):
            inner = model(x)
            assert torch.equal(inner, first)
        model.theta.data.div_(2)
    assert torch.equal(first, expected)
    (F.cross_entropy(first, y) * 2).backward()
    assert model.theta.grad.is_sparse
    model.theta.data.mul_(2)
    assert not torch.equal(model(x), first)


def test_detached_weights_have_no_graph_and_the_gradient_of_images_stays(engine):
    model, (x, y) = use_engine(network(width=0.125)).eval(), images(6)
    x.requires_grad_()
    (expected,) = torch.autograd.grad(F.cross_entropy(model(x), y), x)
    with model.materialised(detach=True):
        loss = F.cross_entropy(model(x), y)
    (given,) = torch.autograd.grad(loss, x, retain_graph=True)
    assert torch.equal(given, expected)
    loss.backward()
    assert model.theta.grad is None


def test_weights_are_released_after_an_exception(engine):
    model = use_engine(network(width=0.125)).eval()
    with pytest.raises(RuntimeError, match="inside"), model.materialised(detach=True):
        raise RuntimeError("inside")
    assert model(images(2)[0]).requires_grad


def test_passes_by_modules_are_dense_and_come_back(engine):
    model, (x, _) = use_engine(network(width=0.125)).eval(), images(6)
    seen = []
    sparse = model(x)
    with model.by_modules():
        hook = model.body.conv2.register_forward_hook(lambda *_: seen.append(1))
        dense = model(x)
        hook.remove()
    assert seen
    assert torch.equal(model(x), sparse)
    torch.testing.assert_close(dense, sparse, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_computes_with_its_own_weights(engine, copied):
    model, (x, _) = use_engine(network(width=0.125)).eval(), images(6)
    logits = model(x)
    twin = copied(model)
    assert torch.equal(twin(x), logits)
    twin.theta.data.mul_(2)
    assert not torch.equal(twin(x), logits)
    twin.body.norm1.bias.data.add_(1)
    assert torch.equal(model(x), logits)


def test_images_of_another_size_or_storage_have_an_index_of_their_own(engine):
    model = network("resnet18")
    sparse, exact = use_engine(copy.deepcopy(model)).eval(), copy.deepcopy(model).double().eval()
    for size in (16, 9, 16, 12):
        x = torch.rand(3, 3, size, size + 2, generator=seeded(size))
        right = exact(x.double())
        assert relative(sparse(x), right) < 1e-5
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert relative(sparse(x), right) < 0.05


def test_a_network_in_double_precision_is_refused(engine):
    model = use_engine(network(width=0.125)).double()
    with pytest.raises(InputError, match=r"float32.*torch\.float64"):
        model(images(2)[0].double())


# Bodies with other modules and operations between the sparse layers.


class Mixed(nn.Module):
    """Ordinary layers, functions, constants and branches between sparse layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.conv1, self.norm1 = SparseConv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.act = nn.LeakyReLU(0.1)
        self.drop = nn.Dropout(0.5)
        self.conv2 = SparseConv2d(8, 8, 3, padding=1, stride=2)
        self.conv3 = SparseConv2d(8, 8, 1)
        self.norm2 = nn.GroupNorm(2, 8)
        self.average = nn.AvgPool2d(2)
        self.scale = nn.Parameter(torch.full((16, 1, 1), 1.5))
        self.register_buffer("offset", torch.linspace(0, 1, 16)[:, None, None])
        self.dense1, self.norm3 = SparseLinear(16 * 4, 12), nn.BatchNorm1d(12)
        self.dense2 = nn.Linear(12, 12)
        self.last = SparseLinear(24, 10)

    def forward(self, x):
        x = self.drop(self.act(self.norm1(self.conv1(F.relu(self.first(x))))))
        x = self.conv2(x)
        x = torch.cat([x, self.norm2(self.conv3(x)) + x], dim=1)
        x = self.average(x.relu()) * self.scale + self.offset
        x = x[:, :, :2, :2].contiguous().view(x.shape[0], -1)
        x = self.norm3(self.dense1(x)).tanh()
        return self.last(torch.cat((x, self.dense2(x)), 1))


def mixed(body=None):
    torch.manual_seed(0)
    body = Mixed() if body is None else body
    sparse = len(modules(body, SparseConv2d)) + len(modules(body, SparseLinear))
    return SparseNetwork(body, p_init=[0.4] * sparse, generator=generator(0, "test"))


@pytest.mark.parametrize("train", [False, True])
def test_ordinary_modules_and_operations_in_between_are_computed_as_they_are(engine, train):
    model = mixed().train(train)
    model.body.drop.eval()
    assert_as_accurate_as_dense(model, [images(17, 10, seed=seed) for seed in range(5)])


def test_dropout_follows_its_mode_and_the_seed(engine):
    model, (x, _) = use_engine(mixed()).train(), images(17, 10)
    model.body.norm1.eval()
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append(model(x).detach())
    assert torch.equal(drawn[0], drawn[1])
    assert relative(drawn[2], drawn[0]) > 1e-2
    model.body.drop.eval()
    assert torch.equal(model(x), model(x))


def test_layers_may_be_used_twice_if_their_maps_have_one_shape(engine):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = SparseConv2d(3, 6, 3, padding=1)
            self.again = SparseConv2d(6, 6, 3, padding=1)
            self.dense = SparseLinear(6, 10)

        def forward(self, x):
            x = self.again(F.relu(self.again(F.relu(self.first(x)))))
            return self.dense(x.mean((2, 3)))

    assert_as_accurate_as_dense(mixed(Twice()), [images(17, 8, seed=seed) for seed in range(5)])


class OnData(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how
        self.conv, self.dense = SparseConv2d(3, 4, 3, padding=1), SparseLinear(4, 10)

    def forward(self, x):
        x = self.conv(x)
        if self.how == "condition" and x.sum() > 0:
            x = -x
        if self.how == "number":
            x = x * float(x.mean())
        if self.how == "loop":
            for image in x:
                x = x + image.mean()
        if self.how == "length":
            x = x / len(x)
        if self.how == "mode":
            x = F.dropout(x, 0.5, self.training)
        return self.dense(x.mean((2, 3)))


HOWS = ["condition", "number", "loop", "length", "mode"]


@pytest.mark.parametrize("how", HOWS)
def test_a_body_that_cannot_be_followed_is_refused_by_name(engine, how):
    model = mixed(OnData(how))
    with pytest.raises(InputError, match="sparse engine cannot follow OnData"):
        use_engine(model)
    with pytest.raises(InputError, match="sparse engine cannot follow OnData"):
        set_engine("sparse", model, CPU)
    assert model.runner is None


class InPlace(nn.Module):
    """A residual block in which something works in place."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.first, self.norm = SparseConv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.relu, self.conv = nn.ReLU(inplace=True), SparseConv2d(6, 6, 3, padding=1)
        self.other = nn.BatchNorm2d(6)
        self.dense = SparseLinear(6, 10)

    def forward(self, x):
        return self.dense(getattr(self, self.how)(self.norm(self.first(x))).mean((2, 3)))

    def module(self, x):
        return self.conv(self.relu(x)) + x

    def function(self, x):
        return self.conv(F.relu(x, inplace=True)) + x

    def position(self, x):
        return self.conv(F.leaky_relu(x, 0.1, True)) + x

    def underscore(self, x):
        return self.conv(torch.relu_(x)) + x

    def method(self, x):
        return self.conv(x.relu_()) + x

    def view(self, x):
        return self.conv(x.view(x.shape).relu_()) + x

    def operator(self, x):
        y = x
        y *= 2
        return self.conv(y) + x

    def later(self, x):
        y = self.conv(F.relu(x))
        return y + x.mul_(2)

    def sum(self, x):
        y = self.other(self.conv(F.relu(x)))
        y += x
        return self.relu(y)

    def alone(self, x):
        return self.other(self.conv(self.relu(x))).mul_(2)


READ_TWICE = ["module", "function", "position", "underscore", "method", "view", "operator", "later"]


@pytest.mark.parametrize("how", READ_TWICE)
def test_an_operation_in_place_on_what_others_read_is_refused(engine, how):
    model = mixed(InPlace(how))
    with pytest.raises(InputError, match=r"cannot follow InPlace: '\w+' works in place on what is"):
        use_engine(model)
    assert set_engine("auto", model, CPU, share=0.01) == "dense"


@pytest.mark.parametrize("how", ["sum", "alone"])
def test_an_operation_in_place_on_what_nobody_else_reads_is_followed(engine, how):
    assert_as_accurate_as_dense(
        mixed(InPlace(how)), [images(17, 8, seed=seed) for seed in range(5)]
    )


class Standardised(SparseConv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean(), padding=self.padding)


class Halved(nn.BatchNorm2d):
    def forward(self, x):
        return 0.5 * super().forward(x)


class Shifted(nn.ReLU):
    def forward(self, x):
        return super().forward(x) + 1


def test_a_sparse_layer_with_a_pass_of_its_own_is_refused(engine):
    body = nn.Sequential(
        Standardised(3, 6, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), SparseLinear(6, 10)
    )
    with pytest.raises(InputError, match="the layer '0': Standardised has a forward pass of its"):
        use_engine(mixed(body))


def test_other_layers_with_a_pass_of_their_own_are_called(engine):
    body = nn.Sequential(
        *(SparseConv2d(3, 6, 3, padding=1), Halved(6), Shifted(), nn.MaxPool2d(2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), SparseLinear(6, 10)),
    )
    assert_as_accurate_as_dense(mixed(body), [images(17, 8, seed=seed) for seed in range(5)])


def test_a_precision_that_it_has_not_is_refused(engine):
    model = use_engine(network("vgg11").eval())
    with torch.autocast("cpu", torch.float16), pytest.raises(InputError, match="autocast to torch"):
        model(images(2)[0])


@pytest.mark.parametrize("kind", [SparseNetwork, MaskedNetwork])
def test_a_network_is_trained_after_it_was_looked_at_in_inference_mode(engine, kind):
    model = use_engine(network("vgg11"))
    model = model if kind is SparseNetwork else use_engine(MaskedNetwork.of(model))
    x, y = images(17)
    with torch.inference_mode():
        model(x)
    results(model, x, y)


def test_where_the_engine_chooses_itself_such_a_body_is_dense(engine, capsys, monkeypatch):
    monkeypatch.setattr("rewire.engine.choice._said", set())
    model = mixed(OnData("condition"))
    for _ in range(2):
        assert set_engine("auto", model, CPU, share=0.01) == "dense"
    said = capsys.readouterr().out
    assert said.count("cannot follow OnData") == 1
    assert said.strip().endswith("dense PyTorch is used")
    assert model(images(4, 8)[0]).shape == (4, 10)


def test_the_mode_of_a_body_is_not_changed_by_following_it(engine):
    model = mixed().train()
    model.body.norm1.eval()
    before = [module.training for module in model.modules()]
    use_engine(model)
    assert [module.training for module in model.modules()] == before
