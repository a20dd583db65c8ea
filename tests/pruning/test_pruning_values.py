"""Pruning by value against brute-force loops over weights and images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.toys_pruned import PIXELS, Network, loop_activated, loop_inputs
from torch import Tensor

from rewire.errors import InputError
from rewire.pruning.inputs import mean_inputs, metric_images
from rewire.pruning.values import (
    METRICS,
    apply_masks,
    combined_masks,
    combined_ratios,
    masks,
    masks_at,
    rank,
    ranks,
    removed_count,
    score,
    sparsity,
    weight_matrices,
)

RATIOS = [0, 0.001, 0.1, 0.29, 0.5, 0.77, 0.9, 0.999, 1]


@pytest.fixture
def model() -> Network:
    return Network()


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Images with 300 pixels that are always black."""
    source = torch.Generator().manual_seed(1)
    x = torch.rand(40, PIXELS, generator=source)
    x[:, torch.randperm(PIXELS, generator=source)[:300]] = 0
    return x.view(40, 1, 28, 28)


def loop_mask(metric: np.ndarray, ratio: float, tie_break: np.ndarray | None = None) -> np.ndarray:
    """Sort all weights as a list of tuples; (in, out) is the storage order of the article."""
    outputs, inputs = metric.shape
    entries = [
        (metric[j, i], 0 if tie_break is None else tie_break[j, i], i, j)
        for i in range(inputs)
        for j in range(outputs)
    ]
    kept = np.ones(metric.shape, bool)
    for *_, i, j in sorted(entries)[: int(ratio * metric.size)]:
        kept[j, i] = False
    return kept


def test_mean_inputs_and_activated_equal_loops(model, images):
    means = mean_inputs(model.train(), images, batch_size=7)
    assert model.dropout.training
    rows = loop_inputs(model, images)
    for layer, name in enumerate(["dense0", "dense1", "dense2"]):
        expected = np.mean([inputs[layer] for inputs in rows], axis=0)
        np.testing.assert_allclose(means[name].numpy(), expected, rtol=1e-5, atol=1e-7)
    found = score(model, "activated", means=means, include_output=True)
    assert list(found) == ["dense0", "dense1", "dense2"]
    expected = loop_activated(model, images)
    for name, value in zip(["dense1", "dense2"], expected, strict=True):
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        found["dense0"].numpy(),
        model.first.weight.detach().abs().numpy() * images.flatten(1).mean(0).numpy(),
        rtol=1e-5,
        atol=1e-8,
    )
    assert not any(value.requires_grad for value in found.values())


def test_inputs_of_either_sign_count_by_the_size_of_their_mean(model):
    means = {
        "dense0": torch.linspace(-1, 1, PIXELS),
        "dense1": torch.tensor([-2.0, 0, 1] + [3] * 4),
    }
    found = score(model, "activated", means=means)
    weight = model.second.weight.detach()
    assert torch.equal(found["dense1"], (weight * means["dense1"]).abs())


def test_draws_of_images(model, images):
    drawn = mean_inputs(model, images, count=10, seed=3)
    again = mean_inputs(model, images, count=10, seed=3, batch_size=3)
    other = mean_inputs(model, images, count=10, seed=4)
    torch.testing.assert_close(drawn, again)
    assert not torch.allclose(drawn["dense0"], other["dense0"])
    shown = metric_images(images, count=10, seed=3)
    torch.testing.assert_close(mean_inputs(model, shown), drawn)
    assert torch.equal(metric_images(images, count=None, seed=3), images)
    everything = mean_inputs(model, images, count=40, seed=3)
    torch.testing.assert_close(everything, mean_inputs(model, images))

    fresh = mean_inputs(model, images, count=10, seed=3, fresh=True)
    assert torch.equal(fresh["dense0"], drawn["dense0"])
    assert not torch.allclose(fresh["dense1"], drawn["dense1"])
    assert not torch.allclose(fresh["dense2"], drawn["dense2"])
    second = mean_inputs(model, metric_images(images, count=10, seed=3, index=1))
    torch.testing.assert_close(fresh["dense1"], second["dense1"])
    # With 40 of 40 images every draw is the same set.
    torch.testing.assert_close(
        mean_inputs(model, images, count=40, fresh=True), mean_inputs(model, images)
    )


@pytest.mark.parametrize("count", [0, -1, 41])
def test_more_images_than_there_are(model, images, count):
    with pytest.raises(InputError, match=f"{count} images for the metric of 40"):
        mean_inputs(model, images, count=count)
    with pytest.raises(InputError, match="0 images"):
        mean_inputs(model, images[:0])


def test_simple_metrics(model, images):
    means = mean_inputs(model, images)
    weights = weight_matrices(model)
    assert list(weights) == ["dense0", "dense1"]
    absolute = score(model, "absolute")
    inputs_only = score(model, "mean_x", means=means)
    drawn = score(model, "random", seed=5)
    for name, weight in weights.items():
        assert torch.equal(absolute[name], weight.detach().abs())
        assert torch.equal(inputs_only[name], means[name].repeat(weight.shape[0], 1))
        assert drawn[name].shape == weight.shape
        assert len(drawn[name].unique()) > 0.99 * weight.numel()
        assert torch.equal(drawn[name], score(model, "random", seed=5)[name])
        assert not torch.equal(drawn[name], score(model, "random", seed=6)[name])


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_masks_equal_sorted_lists_and_are_nested(model, images, metric):
    values = score(model, metric, means=mean_inputs(model, images), seed=1, include_output=True)
    ranking, before = ranks(values), None
    for ratio in RATIOS:
        found = masks(values, ratio)
        for name, mask in found.items():
            assert mask.dtype == torch.bool
            np.testing.assert_array_equal(mask.numpy(), loop_mask(values[name].numpy(), ratio))
            assert torch.equal(mask, ranking[name] >= int(ratio * mask.numel()))
            assert torch.equal(mask, masks_at(ranking, ratio)[name])
            assert int((~mask).sum()) == removed_count(ratio, mask.numel())
            if before is not None:
                assert not (mask & ~before[name]).any()
        before = found
    for name, position in ranking.items():
        assert sorted(position.flatten().tolist()) == list(range(values[name].numel()))


def test_dead_pixels_go_first_in_blocks_of_whole_pixels(model, images):
    values = score(model, "activated", means=mean_inputs(model, images))
    dead = (images.flatten(1).sum(0) == 0).nonzero().flatten()
    assert len(dead) == 300
    ratio = 70 * 7 / (PIXELS * 7) + 1e-9
    removed = ~masks(values, ratio)["dense0"]
    assert torch.equal(removed.all(dim=0).nonzero().flatten(), dead[:70])
    assert int(removed.sum()) == 490


def test_ties_broken_by_another_metric(model, images):
    values = score(model, "activated", means=mean_inputs(model, images))
    absolute = score(model, "absolute")
    absolute["dense0"] = absolute["dense0"].mul(5).round()  # equal in both: storage order
    for ratio in (0.1, 0.3, 0.6):
        found = masks(values, ratio, tie_break=absolute)
        for name in values:
            expected = loop_mask(values[name].numpy(), ratio, absolute[name].numpy())
            np.testing.assert_array_equal(found[name].numpy(), expected)
    plain = masks(values, 0.1)["dense0"]
    assert not torch.equal(plain, masks(values, 0.1, tie_break=absolute)["dense0"])


def test_rank_of_equal_values_counts_inputs_first():
    assert rank(torch.zeros(2, 3)).tolist() == [[0, 2, 4], [1, 3, 5]]
    assert rank(torch.tensor([[3.0, 1.0, 2.0]])).tolist() == [[2, 0, 1]]
    broken = rank(torch.zeros(2, 2), tie_break=torch.tensor([[4.0, 3.0], [2.0, 1.0]]))
    assert broken.tolist() == [[3, 2], [1, 0]]


@pytest.mark.parametrize("ratio", [-0.01, 1.01, math.nan])
def test_ratios_outside_0_to_1(model, ratio):
    with pytest.raises(InputError, match="Allowed: from 0 to 1"):
        masks(score(model, "absolute"), ratio)
    with pytest.raises(InputError, match="the pruning ratio"):
        combined_masks({"absolute": ranks(score(model, "absolute"))}, {"absolute": ratio})


def test_combined_is_the_union_of_both_removals(model, images):
    activated = score(model, "activated", means=mean_inputs(model, images))
    absolute = score(model, "absolute")
    rankings = {"activated": ranks(activated), "absolute": ranks(absolute)}
    plot = [(ratio, combined_ratios(ratio)) for ratio in (0.0, 0.05, 0.5, 0.9)]
    assert plot[1][1] == {"absolute": 0.05, "activated": 0.0}
    assert plot[3][1] == {"absolute": 0.9, "activated": 0.83}
    assert combined_ratios(0.5, offset=0.15)["activated"] == 0.35
    table = {"absolute": 0.85, "activated": 0.80}
    for ratio, ratios in [*plot, (0.85, table)]:
        found = combined_masks(rankings, ratios)
        removed = 0
        for name in ("dense0", "dense1"):
            expected = loop_mask(absolute[name].numpy(), ratios["absolute"]) & loop_mask(
                activated[name].numpy(), ratios["activated"]
            )
            np.testing.assert_array_equal(found[name].numpy(), expected)
            removed += np.count_nonzero(~expected)
        assert sparsity(found) == removed / (7 * PIXELS + 35)
        assert sparsity(found) >= ratio - 1e-3
    assert sparsity(found) > 0.86

    one_layer = {"activated": {"dense1": rankings["activated"]["dense1"]}}
    assert list(combined_masks(one_layer, {"activated": 0.5})) == ["dense1"]
    both = combined_masks(
        one_layer | {"absolute": {"dense0": rankings["absolute"]["dense0"]}},
        {"activated": 0.5, "absolute": 0.9},
    )
    assert {name: int((~mask).sum()) for name, mask in both.items()} == {
        "dense1": 17,
        "dense0": 4939,
    }
    with pytest.raises(InputError, match="Did you mean 'absolute'"):
        combined_masks(rankings, {"absolut": 0.5})
    own = {"absolute": {"dense0": 0.3, "dense1": 0.9}, "activated": {"dense1": 0.2}}
    found = combined_masks(rankings, own)
    expected = {
        "dense0": loop_mask(absolute["dense0"].numpy(), 0.3),
        "dense1": loop_mask(absolute["dense1"].numpy(), 0.9)
        & loop_mask(activated["dense1"].numpy(), 0.2),
    }
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name].numpy(), mask)
    assert list(masks_at(rankings["absolute"], {"dense1": 0.5})) == ["dense1"]
    with pytest.raises(InputError, match="Did you mean 'dense1'"):
        combined_masks(rankings, {"absolute": {"dense11": 0.5}})
    assert combined_masks(rankings, {}) == {}
    assert sparsity({}) == 0


def test_masks_are_applied_and_the_exact_weights_come_back(model, images):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = masks(score(model, "absolute", include_output=True), 0.5)
    with apply_masks(model, found) as pruned:
        assert pruned is model
        for name, weight in weight_matrices(model, include_output=True).items():
            key = {"dense0": "first", "dense1": "second", "dense2": "output"}[name]
            assert torch.equal(weight, before[f"{key}.weight"] * found[name])
            assert torch.equal(model.state_dict()[f"{key}.bias"], before[f"{key}.bias"])
            assert weight.requires_grad
        loss = model(images).sum()
        loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    def interrupted() -> None:
        with apply_masks(model, {"dense1": found["dense1"]}):
            assert torch.equal(model.first.weight, before["first.weight"])
            assert torch.equal(model.output.weight, before["output.weight"])
            assert not torch.equal(model.second.weight, before["second.weight"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_weight_that_is_not_finite_can_be_pruned(model):
    model.second.weight.data[0, 0] = math.inf
    mask = torch.ones(5, 7, dtype=torch.bool)
    mask[0, 0] = False
    with apply_masks(model, {"dense1": mask}):
        assert model.second.weight[0, 0] == 0
    assert model.second.weight[0, 0] == math.inf


def test_what_is_refused(model, images):
    with pytest.raises(InputError, match="Did you mean 'activated'"):
        score(model, "activatd")
    for metric in ("activated", "mean_x"):
        with pytest.raises(InputError, match=f"no mean inputs for the metric '{metric}'"):
            score(model, metric)
    good = torch.ones(5, 7, dtype=torch.bool)
    with (
        pytest.raises(InputError, match="unknown matrix to prune 'dense9'"),
        apply_masks(model, {"dense9": good}),
    ):
        pass
    for mask in (good[:4], good.float()):
        with (
            pytest.raises(InputError, match="the mask of 'dense1'"),
            apply_masks(model, {"dense1": mask}),
        ):
            pass
