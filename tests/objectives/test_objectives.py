from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.toys_attacked import CLASSES, NoWaiting, conv_net, images
from torch import nn

from rewire.attacks.training import mart_attack, pgd_train, trades_attack
from rewire.errors import InputError
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.numbers import fraction
from rewire.registry import OBJECTIVES
from rewire.rng import generator

NAMES = list(OBJECTIVES)
BUDGET = {"epsilon": 0.06, "step_size": 0.02, "steps": 4}
CONF = Path(__file__).parents[2] / "conf" / "thesis" / "objective"


def options(name):
    return {} if name == "natural" else dict(BUDGET)


@pytest.fixture(scope="module")
def data():
    return images(24, seed=5)


def softmax(logits):
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def logits_of(model, x):
    """Training-mode logits in float64, as NumPy; running statistics move as in training."""
    return model.double()(x.double()).detach().numpy()


def expected_loss(name, model, x, y, *, source, beta):
    """The objective from its formula, in float64 NumPy, on the attack's own images."""
    rows, labels = np.arange(len(y)), y.numpy()

    def cross_entropy(p):
        return -np.log(p[rows, labels]).mean()

    if name == "natural":
        return cross_entropy(softmax(logits_of(model, x)))
    if name == "at":
        x_adv = pgd_train(model, x, y, generator=source, **BUDGET)
        return cross_entropy(softmax(logits_of(model, x_adv)))
    if name == "mat":
        half = len(x) // 2
        x_adv = pgd_train(model, x[:half], y[:half], generator=source, **BUDGET)
        return cross_entropy(softmax(logits_of(model, torch.cat([x_adv, x[half:]]))))
    if name == "trades":
        x_adv = trades_attack(model, x, generator=source, **BUDGET)
    else:
        x_adv = mart_attack(model, x, y, generator=source, **BUDGET)
    p, q = softmax(logits_of(model, x)), softmax(logits_of(model, x_adv))
    kl = (p * np.log(p / q)).sum(1)
    if name == "trades":
        return cross_entropy(p) + beta * kl.mean()
    rivals = [max(q[i, k] for k in range(CLASSES) if k != labels[i]) for i in rows]
    margin = -np.log(1.0001 - np.array(rivals)).mean()
    weighted = (kl * (1.0000001 - p[rows, labels])).mean()
    return cross_entropy(q) + margin + beta * weighted


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_equals_its_formula(data, name, batch_norm):
    x, y = data
    beta = 2.5
    extra = {"beta": beta} if name in ("trades", "mart") else {}
    loss, logs = OBJECTIVES[name](
        conv_net(batch_norm=batch_norm),
        x,
        y,
        generator=generator(0, "test"),
        **options(name),
        **extra,
    )
    expected = expected_loss(
        name, conv_net(batch_norm=batch_norm), x, y, source=generator(0, "test"), beta=beta
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert logs["loss"].item() == loss.item()


@pytest.mark.parametrize("name", NAMES)
def test_batch_norm_sees_the_outer_passes_only(data, name):
    x, y = data
    model, twin = conv_net(), conv_net()
    OBJECTIVES[name](model, x, y, generator=generator(0, "test"), **options(name))
    source = generator(0, "test")
    attacked = {
        "natural": lambda: [x],
        "at": lambda: [pgd_train(twin, x, y, generator=source, **BUDGET)],
        "mat": lambda: [
            torch.cat([pgd_train(twin, x[:12], y[:12], generator=source, **BUDGET), x[12:]])
        ],
        "trades": lambda: [x, trades_attack(twin, x, generator=source, **BUDGET)],
        "mart": lambda: [x, mart_attack(twin, x, y, generator=source, **BUDGET)],
    }[name]()
    for batch in attacked:
        twin(batch)
    for key in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(model[1], key), getattr(twin[1], key), rtol=0, atol=0)
    assert model[1].num_batches_tracked.item() == len(attacked)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_modes_and_logs(data, name):
    x, y = data
    model = conv_net()
    model[1].eval()
    before = [module.training for module in model.modules()]
    with NoWaiting():
        loss, logs = OBJECTIVES[name](model, x, y, generator=generator(0, "test"), **options(name))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [module.training for module in model.modules()] == before
    assert all(value.ndim == 0 and not value.requires_grad for value in logs.values())
    assert any(key.endswith("accuracy") for key in logs)
    assert all(0 <= value <= 100 for key, value in logs.items() if key.endswith("accuracy"))
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "natural"])
def test_the_generator_decides_the_noise(data, name):
    x, y = data
    values = [
        OBJECTIVES[name](conv_net(), x, y, generator=generator(seed, "test"), **options(name))[0]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_accuracies_are_percentages(data):
    x, _ = data
    model = conv_net(batch_norm=False)
    y = model(x).argmax(1)
    y[:6] = (y[:6] + 1) % CLASSES
    _, logs = OBJECTIVES["natural"](model, x, y, generator=generator(0, "test"))
    assert logs["clean_accuracy"].item() == 75
    _, logs = OBJECTIVES["mat"](
        model, x, y, generator=generator(0, "test"), epsilon=1e-6, step_size=1e-6, steps=1
    )
    assert logs["clean_accuracy"].item() == 100
    assert logs["adversarial_accuracy"].item() == 50


def sparse_net():
    body = nn.Sequential(
        SparseConv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), SparseLinear(6 * 64, CLASSES)
    )
    return SparseNetwork(body, p_init=[0.5, 0.5], generator=generator(0, "sparse"))


@pytest.mark.parametrize("name", NAMES)
def test_sparse_networks_get_the_gradient_of_their_weights(data, name):
    """Sharing weights between attack and passes must not change dL/dθ."""
    x, y = data
    gradients = []
    for nested in (False, True):
        model = sparse_net()
        source = generator(0, "test")
        if nested:
            with model.materialised():
                loss, _ = OBJECTIVES[name](model, x, y, generator=source, **options(name))
        else:
            loss, _ = OBJECTIVES[name](model, x, y, generator=source, **options(name))
        assert model.theta.grad is None
        loss.backward()
        gradients.append(model.theta.grad)
    torch.testing.assert_close(*gradients)
    connected = sparse_net().theta > 0
    assert (gradients[0][~connected] == 0).all()
    assert gradients[0][connected].abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_the_slope_of_the_loss(data, name):
    """Signs make the attack's images constant for tiny changes of the weights."""
    x, y = data[0].double(), data[1]

    def value(model):
        return OBJECTIVES[name](model, x, y, generator=generator(0, "test"), **options(name))[0]

    model = conv_net().double()
    gradients = torch.autograd.grad(value(model), list(model.parameters()))
    norm = sum((gradient**2).sum() for gradient in gradients).sqrt()
    ends = []
    for h in (1e-6, -1e-6):
        moved = conv_net().double()
        with torch.no_grad():
            for parameter, gradient in zip(moved.parameters(), gradients, strict=True):
                parameter += h * gradient / norm
        ends.append(value(moved).item())
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(norm.item(), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "natural"])
@pytest.mark.parametrize(
    ("option", "value"), [("epsilon", 0.0), ("steps", 0), ("step_size", -0.1), ("beta", 0)]
)
def test_unusable_options_are_input_errors(name, option, value):
    if option == "beta" and name in ("at", "mat"):
        with pytest.raises(InputError, match="unknown option of objective"):
            OBJECTIVES.build(name, beta=6.0)
        return
    with pytest.raises(InputError, match=option):
        OBJECTIVES.build(name, **{option: value})


def test_names_and_options_are_checked():
    with pytest.raises(InputError, match="Did you mean 'trades'"):
        OBJECTIVES.build("trade")
    with pytest.raises(InputError, match="Did you mean 'epsilon'"):
        OBJECTIVES.build("trades", epsilonn=0.1)
    with pytest.raises(InputError, match="2 or more"):
        OBJECTIVES["mat"](
            conv_net(), torch.rand(1, 3, 8, 8), torch.tensor([0]), generator=generator(0, "t")
        )


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_has_a_config_that_builds_it(data, name):
    x, y = data
    config = fraction(yaml.safe_load((CONF / f"{name}.yaml").read_text()))
    assert config["name"] == name
    objective = OBJECTIVES.build(**config)
    loss, _ = objective(conv_net(), x[:4], y[:4], generator=generator(0, "test"))
    # The file spells out the reference's values, which are also the defaults.
    default, _ = OBJECTIVES[name](conv_net(), x[:4], y[:4], generator=generator(0, "test"))
    assert torch.equal(loss, default)


def test_no_config_without_an_objective():
    assert sorted(path.stem for path in CONF.glob("*.yaml")) == NAMES
