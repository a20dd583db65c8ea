"""Heads against NumPy formulas in float64; the L2 penalty against Adam's weight decay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rewire.errors import InputError
from rewire.models.dense import build_dense
from rewire.models.heads import l2_penalty, predict
from rewire.registry import HEADS
from rewire.rng import generator

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 2, (7, 10))
LABELS = RANDOM.integers(0, 10, 7)


def one_hot():
    return np.eye(10)[LABELS]


def numpy_loss(head, scale):
    if head == "sce":
        total = 0.0
        for row, label in zip(LOGITS, LABELS, strict=True):
            total -= np.log(np.exp(row[label]) / np.exp(row).sum())
        return total / 7
    outputs = np.maximum(LOGITS, 0) if head == "rq" else LOGITS
    total = sum((one_hot()[b, k] - outputs[b, k]) ** 2 for b in range(7) for k in range(10))
    return total / (2 * 10 * 7 if scale == "as_coded" else 2 * 7)


CASES = [("sce", "as_coded"), *[(h, s) for h in ("lq", "rq") for s in ("as_coded", "sum")]]


def built(head, scale):
    return HEADS.build(head, **({} if head == "sce" else {"scale": scale}))


@pytest.mark.parametrize(("head", "scale"), CASES)
def test_loss_is_its_formula(head, scale):
    loss = built(head, scale)(torch.tensor(LOGITS), torch.tensor(LABELS))
    assert loss.shape == ()
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(numpy_loss(head, scale), rel=1e-12)


@pytest.mark.parametrize(("head", "scale"), CASES)
def test_gradient_is_its_formula(head, scale):
    logits = torch.tensor(LOGITS, requires_grad=True)
    built(head, scale)(logits, torch.tensor(LABELS)).backward()
    divisor = 7 * (10 if scale == "as_coded" else 1)
    if head == "sce":
        softmax = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
        expected = (softmax - one_hot()) / 7
    elif head == "lq":
        expected = (LOGITS - one_hot()) / divisor
    else:
        expected = np.where(LOGITS > 0, LOGITS - one_hot(), 0) / divisor
    assert np.allclose(logits.grad, expected, rtol=1e-12, atol=0)


def test_names():
    assert list(HEADS) == ["lq", "rq", "sce"]


def test_negative_logits_of_wrong_classes_cost_rq_nothing():
    logits = torch.tensor([[1.0, -50.0, -1.0]])
    assert float(HEADS["rq"](logits, torch.tensor([0]))) == 0
    assert float(HEADS["lq"](logits, torch.tensor([0]))) == pytest.approx((2500 + 1) / 6)


@pytest.mark.parametrize("head", list(HEADS))
def test_half_precision_logits_are_judged_in_float32(head):
    logits, y = torch.tensor(LOGITS).bfloat16(), torch.tensor(LABELS)
    loss = HEADS[head](logits, y)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, HEADS[head](logits.float(), y))


def test_cross_entropy_is_stable_for_large_logits():
    logits = torch.tensor([[1e4, 0.0]])
    assert float(HEADS["sce"](logits, torch.tensor([1]))) == pytest.approx(1e4)


def test_predict_takes_the_largest_logit():
    assert np.array_equal(predict(torch.tensor(LOGITS)), LOGITS.argmax(1))
    assert predict(torch.tensor([[-3.0, -1.0, -2.0]])).tolist() == [1]


@pytest.mark.parametrize(
    ("name", "scale", "text"),
    [
        ("sec", "as_coded", r"unknown head 'sec'. Did you mean 'sce'\?"),
        ("lq", "mean", r"scale is 'mean'. Allowed: as_coded, sum"),
        ("sce", "sum", r"unknown option of head 'sce' 'scale'"),
    ],
)
def test_heads_that_cannot_be_built(name, scale, text):
    with pytest.raises(InputError, match=text):
        HEADS.build(name, scale=scale)


def test_l2_penalty_is_half_the_sum_of_squares():
    arrays = [RANDOM.normal(size=shape) for shape in [(3, 4), (5,), (2, 2, 2)]]
    expected = 0.5 * 3e-2 * sum((array**2).sum() for array in arrays)
    assert float(l2_penalty(map(torch.tensor, arrays), l2=3e-2)) == pytest.approx(
        expected, rel=1e-12
    )
    assert float(l2_penalty([torch.ones(4)])) == pytest.approx(2e-4)
    assert float(l2_penalty([torch.ones(4)], l2=0)) == 0


@pytest.mark.parametrize("head", list(HEADS))
def test_l2_penalty_is_the_weight_decay_of_adam_step_by_step(head):
    """Weights and biases, the output layer included."""
    decayed, penalised, free = (build_dense("ann", seed=0, width=0.02).double() for _ in range(3))
    optimisers = [
        torch.optim.Adam(decayed.parameters(), lr=1e-3, weight_decay=1e-4),
        torch.optim.Adam(penalised.parameters(), lr=1e-3),
        torch.optim.Adam(free.parameters(), lr=1e-3),
    ]
    random = generator(0, "heads")
    for _ in range(30):
        x = torch.rand(20, 784, dtype=torch.float64, generator=random)
        y = torch.randint(10, (20,), generator=random)
        for model, optimiser in zip((decayed, penalised, free), optimisers, strict=True):
            loss = HEADS[head](model(x), y)
            if model is penalised:
                loss = loss + l2_penalty(model.parameters(), l2=1e-4)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        for a, b in zip(decayed.parameters(), penalised.parameters(), strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)
    for a, b in zip(decayed.parameters(), free.parameters(), strict=True):
        assert not torch.allclose(a, b, rtol=1e-9, atol=1e-12)
