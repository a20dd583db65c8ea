"""Index sets against plain NumPy and Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewire.connectivity.index_sets import (
    distinct,
    first_of_each,
    insert_sorted,
    largest,
    positive_entries,
    positive_entries_beside,
    select,
    sort_values,
    sort_with_rank,
)
from rewire.connectivity.places import Places
from rewire.models.layout import lay_out

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(size=st.integers(0, 200), share=st.sampled_from([0.0, 0.5, 0.95, 1.0]), seed=seeds)
def test_connected_entries_are_found_with_and_without_what_is_known(size, share, seed):
    rng = np.random.default_rng(seed)
    values = rng.choice([-1.0, -0.0, 0.0, 1e-12, 2.0], size).astype(np.float32)
    expected = [i for i, value in enumerate(values.tolist()) if value > 0]
    known = np.array([i for i in expected if rng.random() < share], dtype=np.int64)
    theta = torch.from_numpy(values)
    assert positive_entries(theta).tolist() == expected
    assert positive_entries_beside(theta, torch.from_numpy(known)).tolist() == expected
    assert (theta.numpy() == values).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(values=st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 5), max_size=60), seed=seeds)
def test_sorting_and_merging(values, seed):
    tensor = torch.tensor(values, dtype=torch.int64)
    ranked, position = sort_with_rank(tensor)
    pairs = sorted((value, i) for i, value in enumerate(values))
    assert list(zip(ranked.tolist(), position.tolist(), strict=True)) == pairs
    assert sort_values(tensor).tolist() == sorted(values)
    assert distinct(tensor).tolist() == sorted(set(values))
    different = np.random.default_rng(seed).permutation(sorted(set(values))).astype(np.int64)
    cut = len(different) // 3
    merged = insert_sorted(
        torch.from_numpy(np.sort(different[cut:])), torch.from_numpy(different[:cut])
    )
    assert merged.tolist() == sorted(different.tolist())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60, unique=True), seed=seeds)
def test_largest_and_select(values, seed):
    n = np.random.default_rng(seed).integers(1, len(values) + 1)
    tensor = torch.tensor(values)
    assert tensor[largest(tensor, int(n))].tolist() == sorted(tensor.tolist(), reverse=True)[:n]
    assert select(tensor, tensor > 0.5).tolist() == [v for v in tensor.tolist() if v > 0.5]


@pytest.mark.parametrize("shapes", [[(3, 4)], [(5, 2, 3, 4), (6, 7)], [(4,), (2, 3, 3), (3, 2)]])
def test_places_are_those_of_unravel_index(shapes):
    layers = lay_out((f"layer{i}", shape) for i, shape in enumerate(shapes))
    places = Places.of(layers, torch.device("cpu"))
    for number, layer in enumerate(layers):
        entries = torch.arange(layer.offset, layer.span.stop)
        coordinates, sizes, _ = places.coordinates(entries)
        expected = [axis for axis in np.unravel_index(np.arange(layer.size), layer.shape)]
        kept = [c for c, size in zip(coordinates, sizes[:, 0], strict=True) if size > 1]
        wanted = [axis for axis, size in zip(expected, layer.shape, strict=True) if size > 1]
        assert all((a.numpy() == b).all() for a, b in zip(kept, wanted, strict=True))
        assert len(kept) == len(wanted)
        assert (places.layer_of(entries) == number).all()
        assert (places.vector_of(entries).numpy() == np.arange(layer.size) % layer.vectors).all()


def test_the_first_of_each_part_are_those_with_its_smallest_keys():
    rng = np.random.default_rng(3)
    sizes, numbers = [5, 40, 1, 17], [5, 9, 1, 0]
    parts = [torch.from_numpy(rng.integers(0, 1000, size)) for size in sizes]
    keys = [rng.integers(0, 12, size) for size in sizes]  # many are equal: the earlier comes first
    found = first_of_each(parts, numbers, key=torch.from_numpy(np.concatenate(keys)))
    for part, key, n, mine in zip(parts, keys, numbers, found, strict=True):
        assert mine.tolist() == part[np.argsort(key, kind="stable")[:n]].tolist()
