"""Vectors, zero vectors, densities, and their pictures."""
