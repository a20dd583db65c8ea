"""Decoupled convolutions against PyTorch's, loops and the published counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.errors import InputError
from rewire.pruning.decoupled import (
    SCORES,
    DecoupledNetwork,
    decouple,
    dense_as_csr,
    logits_of,
    prune_entries,
)

# Shape and entries of all copies, from the article's network (28 x 28 images).
PUBLISHED = {
    "conv1": ((1, 12, 7), (784, 9408), 406_272),
    "conv2": ((12, 15, 5), (9408, 11760), 3_232_080),
    "conv3": ((15, 25, 3), (11760, 19600), 2_521_500),
    "conv4": ((25, 20, 3), (19600, 15680), 3_362_000),
    "fc1": (None, (15680, 1500), 23_520_000),
    "fc2": (None, (1500, 500), 750_000),
    "out": (None, (500, 10), 5_000),
}


def conv(inputs: int, outputs: int, size: int | tuple[int, int], **options) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, size, **({"padding": "same"} | options))
    source = torch.Generator().manual_seed(inputs + 7 * outputs)
    scale = (inputs * layer.weight[0, 0].numel()) ** -0.5
    nn.init.normal_(layer.weight, std=scale, generator=source)
    if layer.bias is not None:
        nn.init.normal_(layer.bias, std=0.1, generator=source)
    return layer


def linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    source = torch.Generator().manual_seed(inputs)
    nn.init.normal_(layer.weight, std=inputs**-0.5, generator=source)
    nn.init.normal_(layer.bias, std=0.1, generator=source)
    return layer


def logits(convs, linears, images: Tensor, *, flatten: str) -> Tensor:
    x = images
    for layer in convs:
        x = layer(x).relu()
    x = (x if flatten == "chw" else x.permute(0, 2, 3, 1)).flatten(1)
    for layer in linears[:-1]:
        x = layer(x).relu()
    return linears[-1](x).detach()


def small() -> tuple[list[nn.Conv2d], list[nn.Linear]]:
    return [conv(1, 4, 5), conv(4, 3, 3)], [linear(3 * 6 * 5, 11), linear(11, 8), linear(8, 10)]


def pictures(count: int, height: int, width: int) -> Tensor:
    source = torch.Generator().manual_seed(5)
    return torch.rand(count, 1, height, width, generator=source)


def loop_matrix(layer: nn.Conv2d, height: int, width: int) -> dict[tuple[int, int], float]:
    """(input, output) → weight, place by place over the padded image."""
    weight = layer.weight.detach().numpy()
    outputs, inputs, rows, columns = weight.shape
    entries = {}
    for row in range(height):
        for column in range(width):
            for f in range(outputs):
                for i in range(rows):
                    for j in range(columns):
                        r, c = row + i - rows // 2, column + j - columns // 2
                        if not (0 <= r < height and 0 <= c < width):
                            continue
                        for k in range(inputs):
                            place = (
                                (r * width + c) * inputs + k,
                                (row * width + column) * outputs + f,
                            )
                            entries[place] = weight[f, k, i, j]
    return entries


@pytest.mark.parametrize("size", [1, 3, 5, (5, 3)])
@pytest.mark.parametrize("shape", [(6, 5), (1, 4), (2, 2)])
def test_the_matrix_equals_a_loop_over_places(size, shape):
    layer = conv(2, 3, size, bias=False)
    layer.weight.data[1] = 0
    matrix = decouple(layer, *shape)
    expected = loop_matrix(layer, *shape)
    assert matrix.format == "csr"
    assert matrix.shape == (shape[0] * shape[1] * 2, shape[0] * shape[1] * 3)
    found = matrix.tocoo()
    places = zip(found.row.tolist(), found.col.tolist(), strict=True)
    # Equal as dictionaries: zeros of the second filter are stored, too, and each place once.
    assert dict(zip(places, found.data.tolist(), strict=True)) == expected
    assert matrix.nnz == len(expected)
    assert matrix.has_sorted_indices
    x = pictures(2, *shape).repeat(1, 2, 1, 1) * torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    product = x.permute(0, 2, 3, 1).flatten(1).numpy() @ matrix
    torch.testing.assert_close(
        torch.from_numpy(product).view(2, *shape, 3).permute(0, 3, 1, 2), layer(x).detach()
    )


@pytest.mark.parametrize("name", [name for name, row in PUBLISHED.items() if row[0]])
def test_published_shapes_and_counts(name):
    (inputs, outputs, size), shape, entries = PUBLISHED[name]
    layer = conv(inputs, outputs, size, padding=size // 2)
    layer.weight.data[:, :, 0] = 0
    matrix = decouple(layer, 28, 28)
    assert matrix.shape == shape
    assert matrix.nnz == entries
    overlaps = {7: 184, 5: 134, 3: 82}[size]
    assert matrix.nnz == overlaps**2 * inputs * outputs
    assert matrix.dtype == np.float32
    assert decouple(layer, 3, 3, dtype=np.float64).dtype == np.float64


def test_the_published_network_gives_the_logits_of_its_convolutions():
    convs = [conv(*row[0]) for row in PUBLISHED.values() if row[0]]
    linears = [linear(*row[1]) for row in PUBLISHED.values() if not row[0]]
    network = DecoupledNetwork.from_modules(convs, linears)
    assert {layer.name: (layer.weight.shape, layer.weight.nnz) for layer in network.layers} == {
        name: (shape, entries) for name, (_, shape, entries) in PUBLISHED.items()
    }
    images = pictures(3, 28, 28)
    expected = logits(convs, linears, images, flatten="chw")
    np.testing.assert_allclose(network(images.numpy()), expected.numpy(), atol=1e-4, rtol=0)
    assert expected.std(dim=0).min() > 5e-4


@pytest.mark.parametrize("flatten", ["chw", "hwc"])
@pytest.mark.parametrize("sparse_linears", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_networks(flatten, sparse_linears, dtype):
    convs, linears = small()
    options = {"height": 6, "width": 5, "flatten": flatten, "dtype": dtype}
    options["sparse_linears"] = sparse_linears
    images = pictures(9, 6, 5)
    expected = logits(convs, linears, images, flatten=flatten).numpy()
    network = DecoupledNetwork.from_modules(convs, linears, **options)
    found = network(images.numpy())
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert sparse.issparse(network.layers[2].weight) == sparse_linears
    as_run = DecoupledNetwork.from_modules(convs, linears, final_relu=True, **options)
    np.testing.assert_allclose(as_run(images.numpy()), expected.clip(0), atol=1e-5, rtol=0)
    assert (expected < -0.01).any()


def test_dense_layers_keep_their_zeros_as_entries():
    weight = np.array([[0.0, 2.0], [0.0, 0.0], [3.0, 0.0]], np.float32)
    matrix = dense_as_csr(weight)
    assert matrix.nnz == 6
    np.testing.assert_array_equal(matrix.toarray(), weight)


def test_mean_inputs_and_scores_of_every_copy():
    convs, linears = small()
    network = DecoupledNetwork.from_modules(convs, linears, height=6, width=5)
    images = pictures(7, 6, 5)
    means = network.mean_inputs(images.numpy(), batch_size=3)
    assert list(means) == ["conv1", "conv2", "fc1", "fc2", "out"]
    hidden = F.relu(convs[0](images)).detach()
    np.testing.assert_allclose(means["conv1"], images.mean(0).flatten(), rtol=1e-6)
    expected = hidden.mean(0).permute(1, 2, 0).flatten().numpy()
    np.testing.assert_allclose(means["conv2"], expected, rtol=1e-4, atol=1e-7)

    # The metric of one copy: mean over images of |w · x| at the copy's own input.
    matrix = network.layers[1].weight
    found = sparse.csr_array(
        (SCORES["activated"](matrix, means["conv2"]), matrix.indices, matrix.indptr)
    ).tocoo()
    inputs = hidden.permute(0, 2, 3, 1).flatten(1).numpy()
    dense = matrix.toarray()
    for entry in range(0, matrix.nnz, 37):
        i, j = found.row[entry], found.col[entry]
        products = [abs(dense[i, j] * x[i]) for x in inputs]
        assert found.data[entry] == pytest.approx(sum(products) / 7, rel=1e-4, abs=1e-8)
    np.testing.assert_array_equal(SCORES["absolute"](matrix, None), np.abs(matrix.data))
    with pytest.raises(InputError, match="no image"):
        network.mean_inputs(images.numpy()[:0])


@pytest.mark.parametrize("metric", sorted(SCORES))
def test_pruning_keeps_the_largest_entries_and_is_nested(metric):
    convs, linears = small()
    network = DecoupledNetwork.from_modules(convs, linears, height=6, width=5)
    means = network.mean_inputs(pictures(7, 6, 5).numpy())
    matrix = network.layers[1].weight
    score = SCORES[metric](matrix, means["conv2"])
    coo, before = matrix.tocoo(), None
    for ratio in (0, 0.3, 0.5, 0.985, 1):
        pruned = prune_entries(matrix, score, ratio)
        assert pruned.nnz == matrix.nnz - int(ratio * matrix.nnz)
        assert pruned.shape == matrix.shape
        entries = sorted(zip(score.tolist(), coo.row, coo.col, coo.data, strict=True))
        expected = {(i, j): w for _, i, j, w in entries[int(ratio * matrix.nnz) :]}
        left = pruned.tocoo()
        found = dict(zip(zip(left.row, left.col, strict=True), left.data, strict=True))
        assert found == expected
        assert before is None or found.keys() <= before.keys()
        before = found


def test_copies_are_pruned_independently_only_by_the_activated_metric():
    convs, linears = small()
    network = DecoupledNetwork.from_modules(convs, linears, height=6, width=5)
    means = network.mean_inputs(pictures(7, 6, 5).numpy())
    matrix = network.layers[1].weight
    left = {}
    for metric in SCORES:
        pruned = prune_entries(matrix, SCORES[metric](matrix, means["conv2"]), 0.5)
        _, copies = np.unique(np.abs(matrix.data), return_counts=True)
        values, kept = np.unique(np.abs(pruned.data), return_counts=True)
        every = dict(zip(np.unique(np.abs(matrix.data)), copies, strict=True))
        left[metric] = sum(every[value] != count for value, count in zip(values, kept, strict=True))
    assert left["absolute"] <= 1  # at most the weight at the boundary is left in part
    assert left["activated"] > 10


def test_a_pruned_network_runs_and_the_original_stays():
    convs, linears = small()
    network = DecoupledNetwork.from_modules(convs, linears, height=6, width=5)
    images = pictures(4, 6, 5)
    before = network(images.numpy())
    matrix = network.layers[1].weight
    pruned = network.pruned({"conv2": prune_entries(matrix, SCORES["absolute"](matrix, None), 0.5)})
    # Half of the entries by |w|: the same as pruning filter weights, but for the boundary.
    assert [layer.weight.nnz for layer in pruned.layers][1] == math.ceil(matrix.nnz / 2)
    assert not np.allclose(pruned(images.numpy()), before)
    np.testing.assert_array_equal(network(images.numpy()), before)
    nothing = prune_entries(matrix, SCORES["absolute"](matrix, None), 1)
    convs[1].weight.data.zero_()
    np.testing.assert_allclose(
        network.pruned({"conv2": nothing})(images.numpy()),
        logits(convs, linears, images, flatten="chw").numpy(),
        atol=1e-5,
    )


def test_shared_layers_change_nothing():
    convs, linears = small()
    options = {"height": 6, "width": 5, "sparse_linears": False}
    network = DecoupledNetwork.from_modules(convs, linears, **options)
    images = pictures(4, 6, 5).numpy()
    halves = {
        layer.name: prune_entries(layer.weight, np.abs(layer.weight.data), 0.5)
        for layer in network.layers[:2]
    }
    halves["fc1"] = network.layers[2].weight * 0.5
    calls = []

    class Counted(DecoupledNetwork):
        def _output(self, index, x):
            calls.append(index)
            return super()._output(index, x)

    counted = Counted(network.layers)
    for names, shared in ((["conv1"], 0), (["conv2"], 1), (["fc1", "conv2"], 1), (["fc1"], 2)):
        variants = [counted, *(counted.pruned({name: halves[name]}) for name in names)]
        calls.clear()
        found = logits_of(variants, images)
        assert len(calls) == shared + len(variants) * (5 - shared)
        for variant, values in zip(variants, found, strict=True):
            np.testing.assert_array_equal(values, variant(images))
    calls.clear()
    first, second = logits_of([counted, counted.pruned({})], images)
    assert calls == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(first, second)


def test_entries_and_those_with_an_active_input():
    convs, linears = small()
    for sparse_linears in (True, False):
        options = {"height": 6, "width": 5, "sparse_linears": sparse_linears}
        network = DecoupledNetwork.from_modules(convs, linears, **options)
        source = np.random.default_rng(0)
        for layer in network.layers:
            inputs, outputs = layer.weight.shape
            mean = source.random(inputs) * (source.random(inputs) < 0.7)
            every = (
                loop_matrix(convs[int(layer.name[-1]) - 1], 6, 5)
                if layer.name.startswith("conv")
                else [(i, j) for i in range(inputs) for j in range(outputs)]
            )
            assert layer.entries == len(every)
            active = layer.active_entries(mean)
            assert active == sum(mean[i] != 0 for i, _ in every)
            assert 0 < active < layer.entries


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 2, "padding": 1}, r"the stride of the convolution is \(2, 2\)"),
        ({"padding": 0}, r"the padding of the convolution is \(0, 0\)"),
        ({"padding": 4}, r"Allowed for decoupling: \(1, 1\)"),
        ({"dilation": 2}, "the dilation"),
        ({"groups": 2}, "the groups"),
        ({"padding_mode": "circular"}, "the padding mode"),
    ],
)
def test_other_convolutions_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        decouple(nn.Conv2d(2, 2, 3, **({"padding": "same"} | options)), 4, 4)


def test_what_else_is_refused():
    with pytest.raises(InputError, match=r"the kernel of the convolution is \(4, 4\)"):
        decouple(nn.Conv2d(1, 1, 4, padding="same"), 6, 6)
    convs, linears = small()
    with pytest.raises(InputError, match="Allowed: chw, hwc"):
        DecoupledNetwork.from_modules(convs, linears, height=6, width=5, flatten="whc")
    matrix = dense_as_csr(np.ones((2, 2)))
    for ratio in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="the pruning ratio"):
            prune_entries(matrix, matrix.data, ratio)
