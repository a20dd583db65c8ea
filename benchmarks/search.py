"""The nearest unconnected entry of each of many connected ones (thesis, "structured" rewiring).

Ours from θ alone, as the connectivity step calls it, and all sources at once, as where neither the
engine nor a GPU's kernel serves; a k-d tree over the coordinates of the unconnected entries, with
and without building it; brute force, which sorts all distances of one source. The peers get these
coordinates for nothing. Each method hands every entry out only once, to the first source that asks.
Sources are as many as the re-connections of one training step. "Served before" is how often the
same sources have got their nearest entries already: the largest weights ask in every step, and
their neighbourhoods fill up.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from benchmarks.harness import Row, judged, measure
from rewire.connectivity.nearest import Search, nearest_together, nearest_unconnected
from rewire.models.layout import lay_out
from rewire.rng import generator

DEVICES = ("cpu", "cuda")
SETTINGS: dict[str, dict[str, Any]] = {
    "full": {
        "shapes": [[512, 3, 3, 512], [256, 2048]],  # storage order: out, (rows, columns,) in
        # Sparsity: shares of a layer's connections that ask, early and late in a training.
        "sources": {0.99: [0.02, 0.002], 0.95: [0.04, 0.004]},
        "served": [0, 20],
        "brute_force": 2,  # sources that brute force is timed on
        "rounds": 5,
    },
    "quick": {
        "shapes": [[24, 3, 3, 16], [32, 64]],
        "sources": {0.99: [0.2], 0.95: [0.2]},
        "served": [0, 2],
        "brute_force": 2,
        "rounds": 2,
    },
}
NEIGHBOURS = 8  # that the k-d tree is asked for; several sources may want the same entry
TIMES_BRUTE_FORCE, TIMES_TREE = 1000, 200  # targets


def run(
    *,
    device: torch.device,
    cache: Path,
    shapes: list[list[int]],
    sources: dict[float, list[float]],
    served: list[int],
    brute_force: int,
    rounds: int,
) -> list[Row]:
    rows = []
    for shape in shapes:
        for sparsity, shares in sources.items():
            for share, before in itertools.product(shares, served):
                rows += compare(
                    tuple(shape),
                    sparsity,
                    share=share,
                    served=before,
                    brute_force=brute_force,
                    rounds=rounds,
                    device=device,
                )
    return rows


def compare(
    shape: tuple[int, ...],
    sparsity: float,
    *,
    share: float,
    served: int,
    brute_force: int,
    rounds: int,
    device: torch.device,
) -> list[Row]:
    """One row per method for one layer with random connections."""
    random = generator(0, "bench search", device=device)
    theta = torch.rand(shape, generator=random, device=device).flatten() - sparsity
    living = (theta > 0).nonzero()[:, 0]
    order = torch.randperm(len(living), generator=random, device=device)
    sources = living[order[: max(brute_force, round(share * len(living)))]]
    layers = lay_out([("layer", shape)])

    def ours() -> Tensor:
        return nearest_unconnected(sources, theta, layers, search=Search(), generator=random)

    def together() -> Tensor:
        return nearest_together(sources, theta, layers, search=Search(), generator=random)

    for _ in range(served):
        theta[ours()] = 1.0
    free = (theta <= 0).nonzero()[:, 0]
    free_at, sources_at = coordinates(free, shape), coordinates(sources, shape)
    free_points, source_points = free_at.cpu().numpy(), sources_at.cpu().numpy()
    tree = KDTree(free_points)

    tasks = {
        "ours": ours,
        "ours, all at once": together,
        "k-d tree, built before": lambda: query(tree, source_points),
        "k-d tree": lambda: query(KDTree(free_points), source_points),
        "brute force": lambda: sort_all(free_at, sources_at[:brute_force]),
    }
    timings = measure(tasks, rounds=rounds, warm_up=1, device=device)

    def among_free(entries: Tensor) -> list[int]:
        return torch.searchsorted(free, entries).tolist()

    chosen = {
        "ours": among_free(ours()),
        "ours, all at once": among_free(together()),
        "k-d tree": query(tree, source_points),
        "brute force": sort_all(free_at, sources_at[:brute_force]),
    }
    exact = {name: is_exact(tree, source_points, places) for name, places in chosen.items()}
    exact["k-d tree, built before"] = exact["k-d tree"]
    targets = {"k-d tree": TIMES_TREE, "brute force": TIMES_BRUTE_FORCE}
    rows = []
    for name, timing in timings.items():
        timed = brute_force if name == "brute force" else len(sources)
        each = timing.median / timed
        row = {
            "layer": "x".join(map(str, shape)),
            "sparsity": sparsity,
            "method": name,
            "sources": len(sources),
            "served before": served,
            "sources timed": timed,
            "us per source": 1e6 * each,
            "iqr us": 1e6 * (timing.high - timing.low) / timed,
            "exact": exact[name],
        }
        if name != "ours":
            ours_each = timings["ours"].median / len(sources)
            row |= judged("times ours", each / ours_each, at_least=targets.get(name))
        rows.append(row)
    return rows


def query(tree: KDTree, points: np.ndarray) -> list[int]:
    """For each point in order the place of its nearest point in the tree that is not taken yet."""
    chosen: dict[int, None] = {}  # ordered, and quick to ask
    _, neighbours = tree.query(points, k=NEIGHBOURS)
    for point, row in zip(points, neighbours.tolist(), strict=True):
        places = row
        while all(place in chosen for place in places):
            places = tree.query(point, k=2 * len(places))[1].tolist()
        chosen[next(place for place in places if place not in chosen)] = None
    return list(chosen)


def is_exact(tree: KDTree, points: np.ndarray, chosen: list[int]) -> bool:
    """Whether each point in order got one of the nearest places that were left to it."""
    points = points[: len(chosen)]
    distances = np.linalg.norm(tree.data[chosen] - points, axis=1)
    taken: set[int] = set()
    for place, nearer in zip(chosen, tree.query_ball_point(points, distances - 1e-6), strict=True):
        if place in taken or not taken.issuperset(nearer):
            return False
        taken.add(place)
    return True


def sort_all(free_at: Tensor, sources_at: Tensor) -> list[int]:
    """The same by sorting the distances to all unconnected entries, one source after the other."""
    taken: list[int] = []
    for source in sources_at:
        order = squared_distances(free_at, source).argsort()
        first = order[: len(taken) + 1].tolist()
        taken.append(next(place for place in first if place not in taken))
    return taken


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(-1)


def coordinates(index: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.stack(torch.unravel_index(index, shape), dim=-1)
