"""Attacks on the input of a classifier; those that judge are in `rewire.registry.ATTACKS`."""
