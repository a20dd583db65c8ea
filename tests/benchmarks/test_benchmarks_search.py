"""Searches that must all find the nearest: the peers are peers only if they do the same work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from benchmarks.search import SETTINGS, compare, coordinates, is_exact, query, run, sort_all

CPU = torch.device("cpu")


@pytest.fixture
def crowded():
    """Free points and sources so close that most sources want a point that is taken already."""
    random = torch.Generator().manual_seed(1)
    free = torch.randperm(12 * 12, generator=random)[:60]
    sources = torch.randperm(12 * 12, generator=random)[:40]
    return coordinates(free, (12, 12)), coordinates(sources, (12, 12))


def sequential_distances(free_at, sources_at, chosen) -> list[tuple[int, int]]:
    """(distance of each choice, smallest distance to what earlier choices left) by enumeration."""
    left, pairs = set(range(len(free_at))), []
    for source, place in zip(sources_at.tolist(), chosen, strict=True):
        distances = {
            p: sum((a - b) ** 2 for a, b in zip(free_at[p].tolist(), source, strict=True))
            for p in left
        }
        pairs.append((distances[place], min(distances.values())))
        left.remove(place)
    return pairs


def test_peers_hand_every_entry_out_once_to_the_first_that_asks(crowded):
    free_at, sources_at = crowded
    tree = KDTree(free_at.numpy())
    for chosen in (query(tree, sources_at.numpy()), sort_all(free_at, sources_at)):
        assert len(set(chosen)) == len(sources_at)
        for found, smallest in sequential_distances(free_at, sources_at, chosen):
            assert found == smallest


def test_rows_of_exact_searches():
    rows = run(device=CPU, cache=None, **SETTINGS["quick"])
    assert len(rows) == 2 * 2 * 2 * 5
    for row in rows:
        assert row["exact"]
        assert row["us per source"] > 0
        assert ("target" in row) == (row["method"] in ("k-d tree", "brute force"))
        assert row["sources timed"] == (2 if row["method"] == "brute force" else row["sources"])


def test_what_is_not_nearest_is_noticed(monkeypatch):
    def last_unconnected(sources, theta, layers, **options):
        return (theta <= 0).nonzero()[-len(sources) :, 0]

    monkeypatch.setattr("benchmarks.search.nearest_unconnected", last_unconnected)
    rows = compare((24, 3, 3, 16), 0.99, share=0.2, served=0, brute_force=2, rounds=1, device=CPU)
    assert [row["exact"] for row in rows] == [False, True, True, True, True]


def test_an_entry_handed_out_twice_is_noticed():
    tree, points = KDTree([[0, 0], [0, 1], [5, 5]]), np.array([[0, 2], [0, 2]])
    assert is_exact(tree, points, [1, 0])
    assert not is_exact(tree, points, [1, 1])
    assert not is_exact(tree, points, [0, 1])
    assert not is_exact(tree, points, [1, 2])
