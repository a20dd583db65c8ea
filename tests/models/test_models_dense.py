"""The article's ANN and CNN: sizes, initial weights, forward passes in NumPy, dropout."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.signal import correlate2d
from scipy.stats import kstest, truncnorm

from rewire.errors import InputError
from rewire.models.dense import DENSE_MODELS, build_dense
from rewire.rng import generator

CONF = Path(__file__).parents[2] / "conf" / "article" / "network"

# name → per layer (weight shape, sigma of the initial weights as the article's table rounds it)
LAYERS = {
    "ann": {
        "dense1": ((1500, 784), 0.0362),
        "dense2": ((800, 1500), 0.0361),
        "dense3": ((400, 800), 0.0500),
        "output": ((10, 400), 0.01),
    },
    "ann_article": {
        "dense1": ((1500, 784), 0.0362),
        "dense2": ((1000, 1500), 0.0346),
        "dense3": ((800, 1000), 0.0408),
        "output": ((10, 800), 0.01),
    },
    "cnn": {
        "conv1": ((12, 1, 7, 7), 0.0698),
        "conv2": ((15, 12, 5, 5), 0.0863),
        "conv3": ((25, 15, 3, 3), 0.1089),
        "conv4": ((20, 25, 3, 3), 0.1201),
        "dense1": ((1500, 15_680), 0.0132),
        "dense2": ((500, 1500), 0.0387),
        "output": ((10, 500), 0.01),
    },
}
WEIGHTS = {
    "ann": [1_176_000, 1_200_000, 320_000, 4000],
    "ann_article": [1_176_000, 1_500_000, 800_000, 8000],
    "cnn": [588, 4500, 3375, 4500, 23_520_000, 750_000, 5000],
}
BIASES = {"ann": 2710, "ann_article": 3310, "cnn": 12 + 15 + 25 + 20 + 1500 + 500 + 10}


@pytest.fixture(scope="module", params=list(LAYERS))
def full(request):
    return request.param, build_dense(request.param, seed=0)


def layers_of(model):
    """Every layer of a network by name, in network order."""
    return {**model.filters, **model.hidden, "output": model.output}


def images(count, *, seed=0):
    return torch.rand(count, 1, 28, 28, generator=generator(seed, "test images"))


def test_registered_networks_have_a_configuration_and_a_test():
    assert set(DENSE_MODELS) == set(LAYERS) == {path.stem for path in CONF.glob("*.yaml")}


@pytest.mark.parametrize("name", list(LAYERS))
def test_configurations_fit_the_function(name):
    cfg = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert cfg == {"name": name, "width": 1.0, "dropout": "none"}
    assert set(cfg) | {"seed"} == set(inspect.signature(build_dense).parameters)


def test_sizes_are_those_of_the_article(full):
    name, model = full
    layers = layers_of(model)
    assert {key: tuple(layer.weight.shape) for key, layer in layers.items()} == {
        key: shape for key, (shape, _) in LAYERS[name].items()
    }
    weights = [layer.weight.numel() for layer in layers.values()]
    assert weights == WEIGHTS[name]
    assert sum(layer.bias.numel() for layer in layers.values()) == BIASES[name]
    assert sum(p.numel() for p in model.parameters()) == sum(weights) + BIASES[name]
    total = {"ann": 2_700_000, "ann_article": 3_484_000, "cnn": 24_287_963}
    assert sum(weights) == total[name]


def test_initial_weights_are_truncated_normals(full):
    """Cut at 2 sigma without rescaling: the deviation is 0.8796 sigma."""
    name, model = full
    for key, layer in layers_of(model).items():
        _, sigma = LAYERS[name][key]
        weight = layer.weight.detach().flatten().double().numpy()
        assert np.abs(weight).max() <= 2 * sigma * 1.005
        # The larger layers are tested on a part, because a table of 3 digits is not exact.
        part = weight[:20_000]
        assert kstest(part, truncnorm(-2, 2, scale=sigma).cdf).pvalue > 1e-3, key
        assert weight.std() / sigma == pytest.approx(
            0.8796, rel=0.04 if weight.size < 1e4 else 7e-3
        )
        assert (layer.bias == 0.1).all()


def test_sigmas_follow_the_formulas():
    """At another width the largest weight comes close to 2 sigma and never exceeds it."""
    model = build_dense("cnn", seed=1, width=0.5)
    sigmas = {
        "conv1": math.sqrt(3 / (28 + 49 * 6)),
        "conv2": math.sqrt(3 / (28 + 25 * 8)),
        "conv3": math.sqrt(3 / (28 + 9 * 12)),
        "conv4": math.sqrt(3 / (28 + 9 * 10)),
        "dense1": math.sqrt(3 / (7840 + 750)),
        "dense2": math.sqrt(3 / (750 + 250)),
        "output": 0.01,
    }
    for key, layer in layers_of(model).items():
        largest = float(layer.weight.detach().abs().max())
        assert 0.94 * 2 * sigmas[key] < largest <= 2 * sigmas[key] * (1 + 1e-6), key


def test_seed_decides_the_weights_and_nothing_else_is_drawn():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (build_dense("ann", seed=s, width=0.1) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    for (key, a), b, c in zip(
        first.state_dict().items(),
        again.state_dict().values(),
        other.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(a, b)
        assert torch.equal(a, c) == key.endswith("bias")


def reference(model, x):
    """Logits and every dense layer's input in NumPy float64, one image and channel at a time."""

    def numbers(tensor):
        return tensor.detach().double().numpy()

    planes = numbers(x).reshape(len(x), 1, 28, 28)
    for conv in model.convolutions().values():
        weight, bias = numbers(conv.weight), numbers(conv.bias)
        planes = np.stack(
            [
                [
                    sum(
                        correlate2d(plane, kernel, mode="same")
                        for plane, kernel in zip(image, kernels, strict=True)
                    )
                    + b
                    for kernels, b in zip(weight, bias, strict=True)
                ]
                for image in planes
            ]
        ).clip(min=0)
    hidden, inputs = planes.reshape(len(x), -1), {}
    for name, layer in model.hidden.items():
        inputs[name] = hidden
        hidden = (hidden @ numbers(layer.weight).T + numbers(layer.bias)).clip(min=0)
    inputs["output"] = hidden
    return hidden @ numbers(model.output.weight).T + numbers(model.output.bias), inputs


@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (3, 784)])
@pytest.mark.parametrize(("name", "width"), [("ann", 1.0), ("ann_article", 0.3), ("cnn", 0.2)])
def test_forward_and_inputs_match_numpy(name, width, shape):
    model = build_dense(name, seed=0, width=width)
    x = images(3).reshape(shape)
    logits, inputs = reference(model, x)
    assert np.allclose(model(x).detach(), logits, atol=1e-5)
    assert logits.std() > 1e-3
    found = model.inputs_of(x)
    assert list(found) == [*model.matrices(), "output"] == list(inputs)
    for key, value in found.items():
        assert np.allclose(value.detach(), inputs[key], atol=1e-5)


@pytest.mark.parametrize("name", list(LAYERS))
def test_matrices_are_the_parameters_that_the_forward_pass_uses(name):
    model = build_dense(name, seed=0, width=0.1)
    x = images(2)
    parameters = {id(p) for p in model.parameters()}
    matrices = {**model.matrices(), "output": model.output_matrix()}
    assert list(model.matrices()) == [key for key in LAYERS[name] if key.startswith("dense")]
    inputs = model.inputs_of(x)
    for key, matrix in matrices.items():
        assert id(matrix) in parameters
        assert inputs[key].shape == (2, matrix.shape[1])
    convolutions = model.convolutions()
    assert list(convolutions) == [key for key in LAYERS[name] if key.startswith("conv")]
    with torch.no_grad():
        for weight in [*matrices.values(), *(conv.weight for conv in convolutions.values())]:
            saved, before = weight.clone(), model(x)
            weight.mul_(1.5)
            assert not torch.equal(model(x), before)
            weight.copy_(saved)
        for matrix in matrices.values():
            matrix.zero_()
    assert (model(x) == 0.1).all()


@pytest.mark.parametrize("name", list(LAYERS))
def test_every_parameter_learns(name):
    model = build_dense(name, seed=0, width=0.1)
    model(images(4)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad != 0).any(), key


@pytest.mark.parametrize(
    ("name", "width", "hidden", "filters"),
    [
        ("ann", 0.1, [150, 80, 40], []),
        ("ann", 1.5, [2250, 1200, 600], []),
        ("cnn", 0.25, [375, 125], [3, 4, 6, 5]),
        ("cnn", 0.001, [2, 1], [1, 1, 1, 1]),
    ],
)
def test_width_scales_everything_but_the_ends(name, width, hidden, filters):
    model = build_dense(name, seed=0, width=width)
    assert [m.shape[0] for m in model.matrices().values()] == hidden
    assert [conv.out_channels for conv in model.convolutions().values()] == filters
    features = 784 * (filters[-1] if filters else 1)
    assert model.matrices()["dense1"].shape[1] == features
    assert model(images(1)).shape == (1, 10)


def test_no_images():
    assert build_dense("cnn", seed=0, width=0.1)(torch.zeros(0, 784)).shape == (0, 10)


# Weights for many passes.


def weight_types(model, monkeypatch):
    """The type of the weight of every product and convolution of one pass, in order."""
    seen = []
    for name in ("linear", "conv2d"):
        original = getattr(torch.nn.functional, name)

        def spy(x, weight, *args, original=original, **kwargs):
            seen.append(weight.dtype)
            return original(x, weight, *args, **kwargs)

        monkeypatch.setattr(torch.nn.functional, name, spy)
    model(images(2))
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize("name", ["ann", "cnn"])
def test_weights_are_cast_once_under_autocast_and_compute_the_same(name, monkeypatch):
    model, x = build_dense(name, seed=0, width=0.1), images(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        anew = model(x)
        with model.materialised():
            types = weight_types(model, monkeypatch)
            assert types == [torch.bfloat16] * (len(types) - 1) + [torch.float32]
            assert torch.equal(model(x), anew)
            with torch.no_grad():
                for weight in model.parameters():
                    weight.mul_(2)
            assert not torch.equal(model(x), anew)  # of the output layer, which is not cast
            model.output.load_state_dict(build_dense(name, seed=0, width=0.1).output.state_dict())
            assert torch.equal(model(x), anew)  # the others stay as they were
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert set(weight_types(model, monkeypatch)) == {torch.float32}
        assert not torch.equal(model(x), anew)


def test_without_autocast_weights_are_the_layers_own():
    model, x = build_dense("cnn", seed=0, width=0.1), images(2)
    with model.materialised(detach=True), torch.no_grad():
        before = model(x)
        for weight in model.matrices().values():
            weight.mul_(1.5)
        assert not torch.equal(model(x), before)


def test_weights_keep_their_graph_unless_detached():
    model, x = build_dense("cnn", seed=0, width=0.1), images(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(x).square().sum().backward()
        gradients = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        with model.materialised():
            with model.materialised(detach=True):
                model(x).square().sum().backward()
                assert all((p.grad is None) != ("output" in n) for n, p in model.named_parameters())
                model.zero_grad()
            model(x).square().sum().backward()
    for parameter, expected in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, expected)


def test_cast_weights_are_let_go_after_an_exception():
    model, x = build_dense("cnn", seed=0, width=0.1), images(2)
    expected = model(x)

    def fail():
        with torch.autocast("cpu", dtype=torch.bfloat16), model.materialised(detach=True):
            assert not torch.equal(model(x), expected)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert torch.equal(model(x), expected)


# Dropout.


def masks_of(model):
    """Layer name → (weight, thinned weight) of every layer that gets a mask, filled by a pass."""
    dropped = {}
    original = model._thinned

    def spy(weight):
        thin = original(weight)
        (name,) = (k for k, layer in layers_of(model).items() if layer.weight is weight)
        dropped[name] = (weight.detach(), thin.detach())
        return thin

    model._thinned = spy
    return dropped


@pytest.mark.parametrize("dropout", ["unit", "dropconnect"])
@pytest.mark.parametrize("name", list(LAYERS))
def test_dropout_acts_in_training_only_and_follows_its_generator(name, dropout):
    plain = build_dense(name, seed=0, width=0.1)
    model = build_dense(name, seed=0, width=0.1, dropout=dropout)
    x = images(4)
    expected = plain(x)
    assert torch.equal(model.eval()(x), expected)
    model.train()
    torch.manual_seed(0)
    outputs = []
    for step in (0, 0, 1):
        model.set_dropout_generator(generator(0, "dropout", step))
        outputs.append(model(x))
        torch.rand(1)  # the global generator plays no part
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], expected)
    for key, value in model.inputs_of(x).items():
        assert torch.equal(value, plain.inputs_of(x)[key])
    assert torch.equal(model.eval()(x), expected)


def test_training_without_a_dropout_generator_is_refused():
    model = build_dense("ann", seed=0, width=0.1, dropout="unit")
    with pytest.raises(AssertionError, match="set_dropout_generator"):
        model(images(1))
    assert build_dense("ann", seed=0, width=0.1)(images(1)).shape == (1, 10)


def test_dropconnect_drops_7_of_10_weights_without_scaling_in_the_layers_that_had_a_mask():
    model = build_dense("cnn", seed=0, width=0.2, dropout="dropconnect")
    dropped = masks_of(model)
    model.set_dropout_generator(generator(0, "dropout"))
    model(images(2))
    assert list(dropped) == ["conv1", "conv2", "conv3", "dense1", "dense2"]
    for weight, thin in dropped.values():
        kept = thin != 0
        assert torch.equal(thin[kept], weight[kept])
    kept = torch.cat([(thin != 0).flatten() for _, thin in dropped.values()])
    assert float(kept.float().mean()) == pytest.approx(0.3, abs=0.002)
    gradient = torch.autograd.grad(model(images(2)).sum(), model.matrices()["dense1"])[0]
    assert (gradient[dropped["dense1"][1] == 0] == 0).all()


def test_unit_dropout_keeps_7_of_10_hidden_units_and_scales_them():
    """With the identity as weights the logits are the inputs times the masks of three layers."""
    model = build_dense("ann", seed=0, width=0.1, dropout="unit").requires_grad_(False)
    for layer in layers_of(model).values():
        layer.weight.zero_()
        layer.weight.fill_diagonal_(1.0)
        layer.bias.zero_()
    model.set_dropout_generator(generator(0, "dropout"))
    x = torch.ones(4000, 784)
    values, counts = model(x).unique(return_counts=True)
    assert values.tolist() == pytest.approx([0, 0.7**-3])
    assert float(counts[1] / counts.sum()) == pytest.approx(0.7**3, abs=0.008)


# Values that cannot be used.


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "an"}, r"unknown network 'an'. Did you mean 'ann'\?"),
        ({"dropout": "units"}, r"unknown dropout 'units'. Did you mean 'unit'\?"),
        ({"width": 0}, r"network\.width is 0\. Allowed: above 0"),
        ({"width": -1.0}, r"network\.width is -1"),
        ({"width": float("nan")}, r"network\.width is nan"),
        ({"width": math.inf}, r"network\.width is inf"),
        ({"width": "wide"}, r"network\.width is wide"),
    ],
)
def test_values_that_cannot_be_used(options, text):
    with pytest.raises(InputError, match=text):
        build_dense(**{"name": "ann", "seed": 0} | options)


@pytest.mark.parametrize("name", list(LAYERS))
@pytest.mark.parametrize("shape", [(49, 3, 32, 32), (2, 783), (784,), (2, 28, 28)])
def test_other_images_are_refused(name, shape):
    model = build_dense(name, seed=0, width=0.1)
    with pytest.raises(InputError, match=r"images of shape .* do not fit.*\(B, 784\)"):
        model(torch.zeros(shape))
