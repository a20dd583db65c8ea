"""Where re-connections go: one file per strategy, found by name in `STRATEGIES`."""

from rewire.connectivity.strategies import l2, random, vector, weighted
from rewire.connectivity.strategies.base import (
    STRATEGIES,
    Demand,
    Strategy,
    StrategyOptions,
    per_layer,
)

__all__ = [
    "STRATEGIES",
    "Demand",
    "Strategy",
    "StrategyOptions",
    "l2",
    "per_layer",
    "random",
    "vector",
    "weighted",
]
