"""Where re-connections go inside a layer: one file per strategy, found by name in `STRATEGIES`."""

from rewire.connectivity.strategies import l2, random, vector, weighted
from rewire.connectivity.strategies.base import STRATEGIES, Strategy, StrategyOptions

__all__ = ["STRATEGIES", "Strategy", "StrategyOptions", "l2", "random", "vector", "weighted"]
