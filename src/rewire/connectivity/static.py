"""One step of connectivity sampling in tensors of fixed shape, without waiting for the device.

The same semantics as `sampling` (thesis, Algorithm 1), for accelerators: all layers at once, every
shape a function of the network, the budget and a capacity, and no number that the host would have
to know. What finds no place within the fixed number of rounds is left out, counted as `late`, and
made in the next step, because the number of re-connections is always what misses the budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rewire.connectivity.sampling import BIRTH, NOISE
from rewire.connectivity.static_places import Claims, Seekers, approach, fill, scatter, split
from rewire.connectivity.static_tables import Draws, StaticTables, draw, rounds
from rewire.connectivity.strategies import StrategyOptions

STATIC_STRATEGIES = ("random", "l2", "weighted")
# After the first fill a step makes births of a tenth of K at most.
CAPACITY_SHARE, SMALLEST_CAPACITY, LARGEST_CAPACITY = 4, 4_096, 65_536


@dataclass(frozen=True, eq=False)
class StaticConnectivity:
    """What one step left behind, all on the device.

    Attributes:
        connected: (N,) bool, θ > 0.
        per_layer: (L,) int64, connected entries of each layer.
        births: (L,) int64, re-connections of this step in each layer.
        surplus: scalar int64, connected entries beyond the budget.
        late: scalar int64, re-connections that found no place in this step.
    """

    connected: Tensor
    per_layer: Tensor
    births: Tensor
    surplus: Tensor
    late: Tensor


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a step re-connects, before it does.

    Attributes:
        entries: (M,) flat index of every slot; anything where `made` is false.
        made: (M,) bool, which slots re-connect.
        births, per_layer, late: as in `StaticConnectivity`, `per_layer` with the births.
    """

    entries: Tensor
    made: Tensor
    births: Tensor
    per_layer: Tensor
    late: Tensor


def is_static(strategy: str, options: StrategyOptions) -> bool:
    """Whether this strategy with these options exists in fixed shapes."""
    near = options.search.metric == "euclidean"
    return strategy == "random" or (strategy in STATIC_STRATEGIES and near)


def default_capacity(budget: int) -> int:
    """M: births that a step can make at once."""
    return min(budget, max(SMALLEST_CAPACITY, budget // CAPACITY_SHARE), LARGEST_CAPACITY)


@torch.no_grad()
def sample_connectivity_static(
    theta: Tensor,
    was_connected: Tensor,
    tables: StaticTables,
    *,
    budget: int,
    strategy: str,
    options: StrategyOptions,
    lr: float,
    generator: torch.Generator,
    capacity: int,
    place: Callable[..., Placement] | None = None,
) -> StaticConnectivity:
    """Noise, then as many re-connections as the budget misses, at most `capacity` (in place).

    Args:
        theta: (N,) flat parameter after the gradient step.
        was_connected: (N,) bool, entries connected before it; only they receive noise.
        tables: of the network's layers, on θ's device.
        budget: K.
        strategy: one of `STATIC_STRATEGIES`, with options that `is_static` accepts.
        lr: learning rate of the step.
        generator: on θ's device.
        capacity: M ≥ 1.
        place: stands in for `place_births`, e.g. a compiled version of it.
    """
    assert is_static(strategy, options), strategy
    noise = torch.randn(theta.shape, generator=generator, dtype=theta.dtype, device=theta.device)
    theta.add_(noise.mul_(was_connected), alpha=lr * NOISE)
    ties = options.search.ties
    draws = draw(
        tables, budget=budget, strategy=strategy, ties=ties, capacity=capacity, generator=generator
    )
    place = place_births if place is None else place
    found = place(theta, tables, draws, budget=budget, strategy=strategy, ties=ties)
    # The maximum leaves θ alone where a slot makes nothing, and two slots never make one entry.
    birth = torch.full_like(found.entries, BIRTH, dtype=theta.dtype)
    theta.scatter_reduce_(0, found.entries, birth.masked_fill(~found.made, -torch.inf), "amax")
    # Copies: a CUDA graph overwrites its results in the next step.
    return StaticConnectivity(
        connected=theta > 0,
        per_layer=found.per_layer.clone(),
        births=found.births.clone(),
        surplus=(found.per_layer.sum() - budget).clamp(min=0),
        late=found.late.clone(),
    )


def place_births(
    theta: Tensor, tables: StaticTables, draws: Draws, *, budget: int, strategy: str, ties: str
) -> Placement:
    """The entries that one step re-connects: a pure function of θ and the random numbers.

    The number of re-connections, their split over the layers and the places inside a layer are
    those of `sampling.sample_connectivity` and the strategy of that name.
    """
    capacity = draws.layer.shape[1]
    connected = theta > 0
    upto = connected.cumsum(0, dtype=torch.int32)[tables.ends - 1].long()
    per_layer = upto.diff(prepend=upto.new_zeros(1))
    missing = (budget - upto[-1]).clamp(min=0)
    n = missing.clamp(max=capacity)
    planned = split(n, sizes=tables.sizes, free=tables.sizes - per_layer, draws=draws.layer)

    claims = Claims.none(connected, capacity)
    bounds = planned.cumsum(0)
    layer = torch.searchsorted(bounds, claims.slots, right=True).clamp(max=len(bounds) - 1)
    active = claims.slots < n
    if strategy == "random":
        scatter(claims, active, layer, tables, draws=draws.position)
        fill(claims, active, layer, tables, turn=draws.turn)
    else:
        # A layer without any connection has no neighbourhood: there the entries are uniform.
        near = active & (per_layer > 0)[layer]
        scatter(claims, active & ~near, layer, tables, draws=draws.position)
        number = (claims.slots - (bounds - planned)[layer]) % per_layer.clamp(min=1)[layer]
        number = number + (upto - per_layer)[layer]
        living = _living(theta, connected, tables, budget=budget, order=draws.order)
        source = torch.where(near, living[number.clamp(max=budget - 1)], tables.starts[layer])
        seekers = Seekers.of(near, source, layer, tables)
        for index, (window, asking) in enumerate(rounds(tables, capacity)):
            tie_draws = draws.ties[index] if draws.ties else None
            approach(claims, seekers, window=window, asking=asking, ties=ties, draws=tie_draws)

    made = claims.settled()
    births = torch.zeros_like(planned).scatter_add(0, layer, made.long())
    return Placement(
        entries=claims.target[:-1].clamp(max=tables.total - 1),
        made=made,
        births=births,
        per_layer=per_layer + births,
        late=missing - births.sum(),
    )


def _living(
    theta: Tensor, connected: Tensor, tables: StaticTables, *, budget: int, order: Tensor | None
) -> Tensor:
    """The connected entries (K,), layer after layer, each in order of precedence.

    Fewer than K are connected whenever there is something to do; what lies behind the last one has
    no meaning. Precedence is a random `order` (K,), or by largest θ without one.
    """
    entries = torch.nonzero_static(connected, size=budget, fill_value=tables.total)[:, 0]
    layer = torch.searchsorted(tables.ends, entries, right=True)
    entries = entries.clamp(max=tables.total - 1)
    value = theta[entries] if order is None else order
    # Two stable sorts: by precedence, then by layer.
    by_value = value.sort(descending=True, stable=True).indices
    by_layer = layer[by_value].sort(stable=True).indices
    return entries[by_value[by_layer]]
