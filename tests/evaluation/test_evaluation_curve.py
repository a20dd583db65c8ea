"""Pruning curves against the plain network, pruned and judged one setting at a time."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rewire.errors import InputError
from rewire.evaluation.curve import compacted, pruning_curve
from rewire.evaluation.noise import correct_under_noise
from rewire.models.dense import build_dense
from rewire.pruning.inputs import mean_inputs
from rewire.pruning.values import apply_masks, masks_at, ranks, score

COUNT, VECTORS = 61, 3
RATIOS = [0.0, 0.3, 0.8, 0.95, 1.0]


def network(name: str = "ann"):
    """A thin network of large random weights, so that classes differ."""
    model = build_dense(name, seed=0, width=0.03 if name == "ann" else 0.15)
    source = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        fed = parameter[0].numel() if parameter.ndim > 1 else 200
        drawn = torch.randn(parameter.shape, generator=source)  # whatever the memory format
        parameter.data.copy_(drawn * (2 / fed) ** 0.5)
    return model


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor, Tensor]:
    """Images with black pixels, labels that the networks often get right, noise."""
    source = torch.Generator().manual_seed(2)
    coarse = torch.rand(COUNT, 1, 4, 4, generator=source) > 0.6
    images = coarse.repeat_interleave(7, 2).repeat_interleave(7, 3).float()
    images *= torch.rand(images.shape, generator=source)
    images[:, :, :3] = 0
    labels = torch.randint(0, 10, (COUNT,), generator=source)
    labels[::2] = network()(images).argmax(dim=1)[::2]
    labels[1::4] = network("cnn")(images).argmax(dim=1)[1::4]
    noise = torch.rand(VECTORS, 784, generator=source) - torch.tensor([[0.5], [0.2], [0.8]])
    return images, labels, noise


def rankings(model, images, metric: str, names=None):
    values = score(model, metric, means=mean_inputs(model, images), include_output=True)
    return ranks({name: values[name] for name in names or values})


@pytest.mark.parametrize("evaluation", ["E1", "E2"])
@pytest.mark.parametrize("metric", ["absolute", "activated", "mean_x"])
@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("ann", None),
        ("ann", ["dense2"]),
        ("ann", ["dense3"]),
        ("ann", ["output"]),
        ("cnn", ["dense1"]),
        ("cnn", ["dense2"]),
    ],
)
def test_counts_are_those_of_the_plain_network(data, name, names, metric, evaluation):
    model = network(name).train()
    ranking = rankings(model, data[0], metric, names)
    before = {key: value.clone() for key, value in model.state_dict().items()}

    def pruned(ratio: float):
        return apply_masks(model, masks_at(ranking, ratio))

    first = names[0] if names else None
    found = pruning_curve(
        model, pruned, RATIOS, *data, evaluation=evaluation, first=first, batch_size=17
    )
    assert found.shape == (len(RATIOS), 1 + VECTORS)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for row, ratio in zip(found.tolist(), RATIOS, strict=True):
        with pruned(ratio):
            assert row == correct_under_noise(model, *data, evaluation=evaluation).tolist()
    assert len({tuple(row) for row in found.tolist()}) > 1


def test_settings_are_whatever_the_context_takes(data):
    model = network()
    half = masks_at(rankings(model, data[0], "absolute"), 0.5)
    found = pruning_curve(model, lambda masks: apply_masks(model, masks), [{}, half], *data)
    assert found[0].tolist() == correct_under_noise(model, *data).tolist()
    nothing = pruning_curve(model, lambda _: nullcontext(), [None], *data[:2], data[2][:0])
    assert nothing.tolist() == found[:1, :1].tolist()


def test_what_comes_before_the_first_pruned_matrix_is_computed_once(data, monkeypatch):
    model = network("cnn")
    ranking = rankings(model, data[0], "absolute", ["dense2"])
    passes, conv = [], F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *given, **how: passes.append(1) or conv(*given, **how))

    def count(ratios: list[float]) -> int:
        passes.clear()
        pruning_curve(
            model, lambda r: apply_masks(model, masks_at(ranking, r)), ratios, *data, first="dense2"
        )
        return len(passes)

    assert count([0.5]) == count([0.1, 0.2, 0.3, 0.4, 0.5]) > 0


def test_compacting_keeps_the_function():
    source = torch.Generator().manual_seed(0)
    sizes = [20, 12, 8, 5]
    layers = [
        (torch.randn(b, a, generator=source), torch.randn(b, generator=source))
        for a, b in pairwise(sizes)
    ]
    layers[0][0][:, [3, 17]] = 0  # inputs without weights
    layers[0][0][[1, 2]] = 0  # constant units, one above and one below 0
    layers[0][1][:3] = torch.tensor([0.0, 2.0, -2.0])
    layers[1][0][:, 5] = 0  # a unit that nobody reads
    layers[1][0][4] = 0
    layers[1][0][4, 1] = 1.5  # a unit that reads a constant one alone
    layers[2][0][:, 7] = 0
    original = [(weight.clone(), bias.clone()) for weight, bias in layers]
    used, fewer = compacted(layers)
    assert [tuple(weight.shape) for weight, _ in fewer] == [(9, 18), (6, 9), (5, 6)]
    assert not {3, 17} & set(used.tolist())
    x = torch.rand(30, 20, generator=source)

    def run(x: Tensor, layers) -> Tensor:
        for place, (weight, bias) in enumerate(layers):
            x = F.linear(x.relu() if place else x, weight, bias)
        return x

    torch.testing.assert_close(run(x[:, used], fewer), run(x, layers), rtol=1e-5, atol=1e-5)
    for (weight, bias), (before, bias_before) in zip(layers, original, strict=True):
        assert torch.equal(weight, before)
        assert torch.equal(bias, bias_before)
    empty = [(torch.zeros_like(weight), bias) for weight, bias in layers]
    used, fewer = compacted(empty)
    assert all(min(weight.shape) >= 1 for weight, _ in fewer)
    torch.testing.assert_close(run(x[:, used], fewer), run(x, empty))


def test_a_network_that_is_no_chain_of_relu_layers_is_not_judged(data, monkeypatch):
    model = network()
    plain = type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda self, x: plain(self, x) + x.sum())
    with pytest.raises(AssertionError, match="not a chain"):
        pruning_curve(model, lambda _: nullcontext(), [None], *data)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"first": "dense9"}, "unknown matrix to prune 'dense9'"),
        ({"evaluation": "E3"}, "unknown noise evaluation 'E3'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"noise": torch.zeros(4, 700)}, "Allowed"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "61 images and 3 labels"),
    ],
)
def test_what_is_refused(data, changed, message):
    given = dict(zip(["images", "labels", "noise"], data, strict=True)) | changed
    with pytest.raises(InputError, match=message):
        pruning_curve(network(), lambda _: nullcontext(), [None], **given)
