"""Four outputs that share an input are summed together, and the sums stay what they were."""

from __future__ import annotations

import pytest
import torch
from helpers.toys_bodies import Stage, chain, exact_logits, network
from helpers.toys_engine import relative, seeded
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rewire.engine import Inference
from rewire.engine.quads import FEWEST, OUTPUTS, quads_of
from rewire.models.layout import SparseLayer


def fill(model, *, full, partial, seed):
    """Whole vectors of every layer are full, others filled in part, the rest empty."""
    random = seeded(seed)
    weights = {}
    for layer in model.layers:
        kind = torch.rand(layer.vectors, generator=random)
        own = torch.rand(layer.fan_out, layer.vectors, generator=random)
        connected = (kind < full) | ((kind < full + partial) & (own < 0.7))
        values = torch.randn(layer.fan_out, layer.vectors, generator=random) / layer.vectors**0.5
        weights[layer.name] = (values * connected).view(layer.shape)
    model.set_weights(weights)
    return model


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    stages=st.lists(
        st.builds(
            Stage,
            channels=st.integers(1, 19),
            kernel=st.integers(1, 3),
            stride=st.integers(1, 2),
            padding=st.integers(0, 1),
            pool=st.booleans(),
        ),
        min_size=1,
        max_size=3,
    ),
    size=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    full=st.sampled_from([0.1, 0.5, 1.0]),
    partial=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 2**16),
)
def test_networks_of_full_vectors_give_the_exact_logits(build, stages, size, full, partial, seed):
    height, width = size
    for stage in stages:
        height, width = stage.size(height), stage.size(width)
        assume(height > 0 and width > 0)
    image = (3, *size)
    model = fill(network(chain(stages, image), seed=seed), full=full, partial=partial, seed=seed)
    infer = Inference(model)
    for count in (1, 5, 35):
        x = torch.rand(count, *image, generator=seeded(count))
        assert relative(infer(x), exact_logits(model, x)) < 3e-6, count


@pytest.mark.parametrize("outputs", [3, 8, 10])
@pytest.mark.parametrize("density", [0.05, 0.6, 0.9, 1.0])
def test_every_weight_is_alone_or_in_one_quad(outputs, density):
    layer = SparseLayer("layer", (outputs, 2, 2, 3), 0)
    connected = torch.rand(layer.size, generator=seeded(1)) < density
    entries = connected.nonzero()[:, 0]
    values = torch.arange(1.0, len(entries) + 1)
    quads = quads_of(layer, entries, values)
    dense = torch.zeros(layer.size)
    dense[entries[quads.alone]] = values[quads.alone]
    by_output = dense.view(outputs, layer.vectors)
    for entry, weights in zip(quads.entries.tolist(), quads.weights, strict=True):
        first, vector = entry // layer.vectors * OUTPUTS, entry % layer.vectors
        assert (weights != 0).sum() >= FEWEST
        assert (by_output[first : first + OUTPUTS, vector] == 0).all()
        by_output[first : first + OUTPUTS, vector] = weights
    assert torch.equal(dense[entries], values)
    assert (dense != 0).sum() == len(entries)
    assert torch.equal(quads.entries, quads.entries.sort().values)


def test_quads_are_formed_where_most_weights_are_in_them_and_nowhere_else():
    layer = SparseLayer("layer", (8, 20), 0)
    full = torch.zeros(8, 20)
    full[:, [3, 7]] = 1
    full[0, 0] = 1
    entries = full.flatten().nonzero()[:, 0]
    quads = quads_of(layer, entries, torch.ones(len(entries)))
    assert quads.entries.tolist() == [3, 7, 23, 27]
    assert quads.alone.sum() == 1
    thin = torch.zeros(8, 20)
    thin[0:3, 5] = 1  # one quad
    thin[4, :8] = 1
    entries = thin.flatten().nonzero()[:, 0]
    quads = quads_of(layer, entries, torch.ones(len(entries)))
    assert not len(quads.entries)
    assert quads.alone.all()
