"""Bayesian connectivity sampling: budget, noise, re-connections, strategies, exact search."""
