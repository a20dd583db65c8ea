"""Universal noise against a literal one-vector loop and the analytic gradient."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from rewire.attacks import universal
from rewire.attacks.universal import (
    EVALUATIONS,
    LOSSES,
    OPTIMISERS,
    VARIANTS,
    Recipe,
    apply_noise,
)
from rewire.errors import InputError
from rewire.models.dense import DenseNetwork, build_dense

PIXELS = 784
PAIRS = [(3, 0.25), (2, 0.25), (1, 0.15), (5, 0.35), (8, 0.2)]


def make_noise(model, images, *, pairs, variant="G1", progress=None, **recipe):
    return universal.make_noise(
        model, images, pairs=pairs, variant=variant, recipe=Recipe(**recipe), progress=progress
    )


def network(*, hidden: int = 30, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(PIXELS, hidden), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(hidden, 10),
        )  # fmt: skip


def batches(count: int, size: int = 12, *, seed: int = 1) -> list[Tensor]:
    """Images in [0, 1] with black and white parts, as digits have them."""
    source = torch.Generator().manual_seed(seed)
    return [
        (torch.rand(size, 1, 28, 28, generator=source) * 2 - 0.5).clamp(0, 1) for _ in range(count)
    ]


def literal_loss(logits: Tensor, target: int, name: str) -> Tensor:
    """One batch: the loss formulas written out per image and class."""
    total = logits.new_zeros(())
    for row in logits:
        softmax = [value.exp() / row.exp().sum() for value in row]
        relu = [value.clamp_min(0) for value in row]
        outputs = {"quadratic_linear": row, "quadratic_relu": relu}.get(name, softmax)
        if name == "ce":
            total = total - softmax[target].log()
        else:
            for k in range(10):
                total = total + (float(k == target) - outputs[k]) ** 2 / (2 * 10)
    return total / len(logits)


def literal_noise(model, images, target, limit, *, variant, lr, loss, optimiser) -> Tensor:
    """One vector, by plain autograd and the update rules from their definitions."""
    noise = torch.zeros(1, 28, 28).to(images[0])
    first, second = torch.zeros_like(noise), torch.zeros_like(noise)
    for step, x in enumerate(images, start=1):
        noise.requires_grad_()
        clip = torch.minimum(torch.maximum(x + noise, x.new_zeros(())), x.new_ones(()))
        # At a tie the gradient of minimum and maximum is halved; the clip passes it on whole.
        tied = (x + noise.detach() == 0) | (x + noise.detach() == 1)
        clip = torch.where(tied, x + noise, clip)
        fed = clip + noise if variant == "G1" else clip
        literal_loss(model(fed), target, loss).backward()
        gradient, noise = noise.grad, noise.detach()
        if optimiser == "sgd":
            noise = noise - lr * gradient
        elif optimiser == "sign":
            noise = noise - lr * gradient.sign()
        else:
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            m, v = first / (1 - 0.9**step), second / (1 - 0.999**step)
            noise = noise - lr * m / (v.sqrt() + 1e-8)
        noise = noise.clip(-limit, limit)
    return noise.flatten()


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize(
    ("loss", "optimiser", "lr"),
    [
        ("ce", "sgd", 0.5),
        ("quadratic_softmax", "sgd", 80.0),
        ("quadratic_linear", "sgd", 5.0),
        ("quadratic_relu", "sgd", 20.0),
        ("ce", "sign", 0.04),
        ("quadratic_linear", "adam", 0.03),
        ("ce", "adam", 0.03),
    ],
)
def test_equals_a_literal_loop_over_one_vector(variant, loss, optimiser, lr):
    # In double precision: the sign of a tiny gradient must not depend on the order of a sum.
    model, images = network().eval().double(), [x.double() for x in batches(12)]
    pairs = [(3, 0.05), (7, 0.3)]
    found = make_noise(
        model, images, pairs=pairs, variant=variant, steps=12, lr=lr, loss=loss,
        optimiser=optimiser, vectors_per_pass=2,
    )  # fmt: skip
    assert found.shape == (2, PIXELS)
    for noise, (target, limit) in zip(found, pairs, strict=True):
        expected = literal_noise(
            model, images, target, limit, variant=variant, lr=lr, loss=loss, optimiser=optimiser
        )
        torch.testing.assert_close(noise, expected, atol=1e-7, rtol=0)
    assert found[0].abs().max() == 0.05
    assert found[1].abs().max() > 0.06


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_one_step_on_a_linear_softmax_model_is_the_analytic_gradient(variant):
    model = nn.Linear(PIXELS, 10)
    nn.init.normal_(model.weight, generator=torch.Generator().manual_seed(5))
    (x,) = batches(1, 250)
    x = x.flatten(1)
    target, lr = 4, 0.01
    found = make_noise(model, [x], pairs=[(target, 1.0)], variant=variant, steps=1, lr=lr)

    weight = model.weight.detach().double()
    p = (x.double() @ weight.T + model.bias.detach().double()).softmax(dim=1)
    p[:, target] -= 1
    # At n = 0 no pixel lies outside [0, 1]: the clip is the identity, and G1 adds n once more.
    gradient = (p @ weight).mean(dim=0) * (2 if variant == "G1" else 1)
    torch.testing.assert_close(found[0].double(), -lr * gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_pair_does_not_depend_on_the_others(variant, optimiser):
    model, images = network(), batches(40, 20)
    options = {"variant": variant, "steps": 40, "optimiser": optimiser}
    options["lr"] = {"sgd": 0.5, "sign": 0.01, "adam": 0.01}[optimiser]
    together = make_noise(model, images, pairs=PAIRS, **options)
    assert len(torch.unique(together, dim=0)) == len(PAIRS)
    for vector, pair in enumerate(PAIRS):
        alone = make_noise(model, images, pairs=[pair], **options)
        torch.testing.assert_close(together[vector], alone[0], atol=1e-6, rtol=0)
    reordered = make_noise(model, images, pairs=PAIRS[::-1], **options)
    assert torch.equal(reordered.flip(0), together)
    if optimiser == "sgd":
        stacked = make_noise(model, images, pairs=PAIRS, vectors_per_pass=3, **options)
        torch.testing.assert_close(stacked, together, atol=1e-6, rtol=0)


def test_noise_moves_images_to_the_target_and_stays_within_the_limit():
    model, images = network(), batches(150, 30)
    noise = make_noise(model, images, pairs=PAIRS, variant="G2", steps=150, lr=1.0)
    (x,) = batches(1, 200, seed=9)
    model.eval()
    for vector, (target, limit) in zip(noise, PAIRS, strict=True):
        assert vector.abs().max() <= torch.tensor(limit)
        before = (model(x).argmax(dim=1) == target).float().mean()
        after = (model(apply_noise(x, vector, evaluation="E2")).argmax(dim=1) == target).float()
        assert before < 0.5
        assert after.mean() > 0.95


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_bf16_noise_is_float32_finite_and_effective_in_float32(variant):
    model, images = network(), batches(60, 30)
    fed = []
    model[1].register_forward_hook(lambda layer, inputs, output: fed.append(output.dtype))
    options = {"pairs": PAIRS, "variant": variant, "steps": 60, "lr": 1.0}
    noise = make_noise(model, images, precision="bf16-mixed", **options)
    assert set(fed) == {torch.bfloat16}
    assert noise.dtype == torch.float32
    assert noise.isfinite().all()
    exact = make_noise(model, images, precision="32-true", **options)
    assert set(fed) == {torch.bfloat16, torch.float32}
    model.eval()
    (x,) = batches(1, 300, seed=9)
    for (target, limit), ours, theirs in zip(PAIRS, noise, exact, strict=True):
        assert ours.abs().max() <= torch.tensor(limit)
        reached = [
            (model(apply_noise(x, vector, evaluation="E2")).argmax(dim=1) == target).sum().item()
            for vector in (ours, theirs)
        ]
        assert reached[0] > 0.95 * len(x)
        assert abs(reached[0] - reached[1]) < 0.03 * len(x)


def test_the_model_is_left_as_it_was_and_judged_in_evaluation_mode():
    model = network().train()
    model[3].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, progress = batches(3), []
    found = make_noise(
        model, images, pairs=PAIRS, steps=3, progress=lambda *now: progress.append(now)
    )
    assert model.training
    assert not model[3].training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(found, make_noise(model.eval(), images, pairs=PAIRS, steps=3))
    assert not found.requires_grad
    assert progress == [(1, 3), (2, 3), (3, 3)]


def test_batches_after_the_last_step_are_not_drawn():
    source = iter(itertools.cycle(batches(3)))
    drawn = []
    make_noise(
        network(),
        (drawn.append(0) or x for x in source),
        pairs=[(1, 0.1)],
        steps=7,
        optimiser="sgd",
    )
    assert len(drawn) == 7


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pairs": []}, "at least one"),
        ({"pairs": [(10, 0.1)]}, "0 to 9"),
        ({"pairs": [(-1, 0.1)]}, "target class"),
        ({"pairs": [(True, 0.1)]}, "target class"),
        ({"pairs": [(1, 0.0)]}, "limit of the noise is 0.0"),
        ({"pairs": [(1, 1.5)]}, "at most 1"),
        ({"pairs": [(1, math.nan)]}, "limit"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 3}, "2 batches of images for 3 steps"),
        ({"lr": 0}, "lr is 0"),
        ({"variant": "G3"}, "unknown noise variant 'G3'"),
        ({"loss": "cross"}, "Allowed: ce, quadratic_linear, quadratic_relu, quadratic_softmax"),
        ({"optimiser": "adma"}, "Did you mean 'adam'"),
        ({"vectors_per_pass": 0}, "vectors_per_pass is 0"),
        ({"precision": "fp8"}, "unknown noise precision 'fp8'.*Allowed: 32-true, bf16-mixed"),
        ({"pairs": 3}, "the noise pairs are 3"),
        ({"pairs": "3/.25"}, "the noise pairs are '3/.25'"),
        ({"pairs": [(3, 0.25), 5]}, r"a noise pair is 5. Allowed: \(class, limit\)"),
        ({"pairs": [(3, 0.25, 1)]}, "a noise pair is"),
    ],
)
def test_values_that_are_not_allowed(changed, message):
    options = {"pairs": [(1, 0.1)], "steps": 2} | changed
    with pytest.raises(InputError, match=message):
        make_noise(network(), batches(2), **options)


def test_no_batch_and_a_broken_model():
    with pytest.raises(InputError, match="no batch"):
        make_noise(network(), [], pairs=PAIRS)
    model = network()
    nn.init.constant_(model[1].weight, math.nan)
    with pytest.raises(InputError, match="not finite"):
        make_noise(model, batches(1), pairs=PAIRS, steps=1)


def test_losses_are_means_of_the_written_formulas():
    logits = torch.randn(6, 10, generator=torch.Generator().manual_seed(0)) * 3
    for name in LOSSES:
        found = LOSSES[name](logits, torch.full((6,), 2)).mean()
        torch.testing.assert_close(found, literal_loss(logits, 2, name))


def test_apply_noise_as_single_pixels():
    (x,) = batches(1, 4)
    noise = torch.rand(3, PIXELS, generator=torch.Generator().manual_seed(2)) - 0.5
    for evaluation in EVALUATIONS:
        every = apply_noise(x, noise, evaluation=evaluation)
        assert every.shape == (3, 4, 1, 28, 28)
        for v, b, row, column in [(0, 0, 0, 0), (2, 3, 27, 27), (1, 2, 5, 20), (2, 0, 13, 7)]:
            pixel = (x[b, 0, row, column] + noise[v, 28 * row + column]).item()
            if evaluation == "E2":
                pixel = min(max(pixel, 0.0), 1.0)
            assert every[v, b, 0, row, column].item() == pixel
        for v in range(3):
            assert torch.equal(apply_noise(x, noise[v], evaluation=evaluation), every[v])
        flat = apply_noise(x.flatten(1), noise, evaluation=evaluation)
        assert torch.equal(flat, every.flatten(2))
    assert apply_noise(x, noise).max() > 1
    assert apply_noise(x[:0], noise).shape == (3, 0, 1, 28, 28)
    with pytest.raises(InputError, match="unknown noise evaluation 'E3'"):
        apply_noise(x, noise, evaluation="E3")
    with pytest.raises(InputError, match=r"Allowed: \(784,\)"):
        apply_noise(x, noise[:, :700])


@pytest.mark.parametrize("name", ["ann", "cnn"])
def test_the_articles_networks_cast_their_weights_once(name, monkeypatch):
    model = build_dense(name, seed=0, width=0.1)
    casts = []
    original = DenseNetwork.materialised

    def spy(self, **kwargs):
        casts.append(torch.is_autocast_enabled("cpu"))
        return original(self, **kwargs)

    monkeypatch.setattr(DenseNetwork, "materialised", spy)
    found = make_noise(model, batches(3), pairs=PAIRS[:2], steps=3, precision="bf16-mixed")
    assert casts == [True]
    monkeypatch.delattr(DenseNetwork, "materialised")
    anew = make_noise(model, batches(3), pairs=PAIRS[:2], steps=3, precision="bf16-mixed")
    assert torch.equal(found, anew)
    assert found.abs().max() > 0
