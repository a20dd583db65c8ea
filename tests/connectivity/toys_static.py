"""Small networks for the fixed-shape sampling step."""

from __future__ import annotations

import functools

import torch

from rewire.connectivity.nearest import Search
from rewire.connectivity.static import default_capacity, sample_connectivity_static
from rewire.connectivity.static_tables import static_tables
from rewire.connectivity.strategies import StrategyOptions
from rewire.models.layout import total_size
from rewire.rng import generator

TIES = ("random", "first", "same_vector")
SHAPES = [("conv", (16, 3, 3, 8)), ("dense", (20, 30)), ("last", (5, 20))]
cached_tables = functools.cache(static_tables)


def sample(theta, layers, budget, strategy="random", *, ties="random", seed=0, **changed):
    options = {
        "was_connected": theta > 0,
        "lr": 0.0,
        "generator": generator(seed, "test"),
        "capacity": default_capacity(budget),
    } | changed
    if "tables" not in options:
        options["tables"] = cached_tables(layers)
    return sample_connectivity_static(
        theta,
        budget=budget,
        strategy=strategy,
        options=StrategyOptions(search=Search(ties=ties)),
        **options,
    )


def some_theta(layers, density=0.1, seed=0):
    random = generator(seed, "test theta")
    total = total_size(layers)
    values = torch.rand(total, generator=random) + 0.1
    return torch.where(torch.rand(total, generator=random) < density, values, -0.01)
