"""Reproduction pipeline for robust, sparse, structured networks."""

import importlib

from rewire import _torchvision_hook

__version__ = "0.1.0"
_FRONT = {  # what stands in front of the package → its module, imported when it is asked for
    "load": "rewire.models.artifact",
    "Inference": "rewire.engine",
}
__all__ = ["Inference", "load"]

_torchvision_hook.install()


def __getattr__(name: str):
    if name in _FRONT:
        return getattr(importlib.import_module(_FRONT[name]), name)
    raise AttributeError(f"module 'rewire' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FRONT])
