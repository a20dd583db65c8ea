"""Sparse networks on a CPU at the cost of their connected weights."""
