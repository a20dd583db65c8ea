"""Bayesian connectivity sampling, step by step (thesis, Algorithm 1; section 2 of the reference).

After every gradient step: noise on the entries that were connected before it, then as many
re-connections as the budget misses. Nothing is removed if momentum revived more than the budget.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewire.connectivity.budget import split_over_layers
from rewire.connectivity.index_sets import (
    distinct,
    insert_sorted,
    positive_entries,
    positive_entries_beside,
    select,
    set_entries,
)
from rewire.connectivity.strategies.base import Demand, Strategy
from rewire.models.layout import SparseLayer, connected_per_layer

BIRTH = 1e-12  # θ of a re-connected entry
NOISE = 1e-6  # standard deviation of the noise, times the learning rate


class ConnectivityError(RuntimeError):
    """A step broke a promise: a defect. Says what is wrong."""


@dataclass(frozen=True)
class Connectivity:
    """What one sampling step left behind.

    Attributes:
        connected: (C,) sorted flat indices with θ > 0.
        per_layer: (L,) connected entries of each layer.
        growth: (L,) re-connections of this step in each layer.
        surplus: connected entries beyond the budget, revived by momentum.
    """

    connected: Tensor
    per_layer: Tensor
    growth: Tensor
    surplus: int


def connected_entries(
    theta: Tensor, *, alive: Tensor | None = None, others: Tensor | None = None
) -> Tensor:
    """Sorted flat indices with θ > 0.

    Args:
        theta: (N,) flat parameter.
        alive: sorted indices that are known to be connected. If they are nearly all, the search is
            several times faster; the result is the same.
        others: the only entries that may be connected beside them, in any order; None for all.
    """
    if alive is None:
        return positive_entries(theta)
    if others is None:
        return positive_entries_beside(theta, alive)
    return insert_sorted(alive, others[theta.index_select(0, others) > 0])


@torch.no_grad()
def add_noise(theta: Tensor, connected: Tensor, *, lr: float, generator: torch.Generator) -> Tensor:
    """θ += lr·N(0, 10⁻⁶) on `connected`, the entries connected *before* the gradient step.

    10⁻⁶ is the standard deviation, as the reference code passes it.

    Returns:
        Those of the entries that still are connected, (·,) in the order of `connected`.
    """
    noise = torch.randn(len(connected), generator=generator, device=theta.device, dtype=theta.dtype)
    noisy = theta.index_select(0, connected).add_(noise, alpha=lr * NOISE)
    set_entries(theta, connected, noisy)
    return select(connected, noisy > 0)


@torch.no_grad()
def sample_connectivity(
    theta: Tensor,
    layers: tuple[SparseLayer, ...],
    *,
    budget: int,
    strategy: Strategy,
    generator: torch.Generator,
    connected: Tensor | None = None,
) -> Connectivity:
    """Re-connect entries until `budget` of them are connected (in place).

    The n = max(0, K − #{θ > 0}) re-connections are split over the layers in proportion to their
    size, and inside a layer go where the strategy says, with θ = 10⁻¹². Exactly n different
    unconnected entries are re-connected.

    Args:
        theta: (N,) flat parameter.
        layers: its layers in order.
        budget: K.
        connected: all its connected entries, sorted, where they are known.

    Raises:
        ConnectivityError: for a strategy that gives other entries than it may; θ is as it was.
    """
    if connected is None:
        connected = connected_entries(theta)
    per_layer = connected_per_layer(connected, layers).cpu()
    sizes = torch.tensor([layer.size for layer in layers])
    n = max(0, budget - len(connected))
    growth = split_over_layers(n, sizes=sizes, free=sizes - per_layer, generator=_on_cpu(generator))
    starts = [0, *per_layer.cumsum(0).tolist()]
    demands = [
        Demand(layer, connected[starts[number] : starts[number + 1]], count, budget / len(theta))
        for number, (layer, count) in enumerate(zip(layers, growth.tolist(), strict=True))
        if count
    ]
    if demands:
        born = strategy(theta, layers, demands, generator=generator)
        different = len(distinct(born))
        living = int((theta.index_select(0, born) > 0).sum())
        if (len(born), different, living) != (n, n, 0):
            raise ConnectivityError(
                f"the strategy re-connected {len(born)} entries, {different} different ones, "
                f"{living} of them connected already. Allowed: {n} different unconnected ones."
            )
        theta[born] = BIRTH
        connected = insert_sorted(connected, born)
    return Connectivity(
        connected=connected,
        per_layer=per_layer + growth,
        growth=growth,
        surplus=len(connected) - budget,
    )


def _on_cpu(generator: torch.Generator) -> torch.Generator:
    """A CPU generator for the few draws that decide loop counts; the same one if it is there."""
    if generator.device.type == "cpu":
        return generator
    return torch.Generator().manual_seed(generator.initial_seed())
