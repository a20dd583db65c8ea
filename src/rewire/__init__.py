"""Reproduction pipeline for robust, sparse, structured networks."""

from rewire import _torchvision_hook

__version__ = "0.1.0"

_torchvision_hook.install()
