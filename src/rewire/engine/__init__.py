"""Sparse networks on a CPU at the cost of their connected weights."""

from rewire.engine.inference import Inference

__all__ = ["Inference"]
