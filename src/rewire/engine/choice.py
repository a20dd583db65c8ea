"""Which engine computes a network: `trainer.engine`."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch

from rewire.engine.library import instruction_set, unavailable
from rewire.engine.network import use_engine
from rewire.errors import InputError, unknown_name
from rewire.models.sparse import SparseNetwork

ENGINES = ("auto", "sparse", "dense", "compiled")
LARGEST_SHARE = 0.2
"""Connected weights up to which the sparse engine is faster (docs/performance.md)."""
COMPILED_FROM = 25
"""Epochs from which it pays to compile a training's passes, which takes most of a minute."""


def set_engine(
    name: str,
    model: SparseNetwork,
    device: torch.device,
    *,
    share: float | None = None,
    epochs: int = 0,
) -> str:
    """Let the engine of that name compute `model` from here on; tells which one it is.

    `auto` takes the sparse one on a CPU where it was built, can follow the network, and pays; on a
    GPU the compiled one for a long training.

    Args:
        name: of `ENGINES`.
        model: the network.
        device: where it computes.
        share: of weights that will be connected; None for what is connected now.
        epochs: of the training; 0 for no training, which compiles nothing.

    Returns:
        "sparse", "dense", or "compiled" for dense passes that a training compiles.

    Raises:
        InputError: for an unknown name, or `sparse` or `compiled` where that cannot be.
    """
    if name not in ENGINES:
        raise unknown_name("trainer.engine", name, ENGINES)
    model.runner = None
    if name == "sparse":
        if device.type != "cpu":
            raise InputError(
                f"trainer.engine is 'sparse', but the device is '{device.type}': the sparse engine "
                "computes on a CPU. Allowed here: auto, dense; or trainer.device=cpu."
            )
        if unavailable():
            raise InputError(
                f"trainer.engine is 'sparse', but {unavailable()}. Allowed here: auto, dense."
            )
        use_engine(model)
    elif name == "auto" and device.type == "cpu" and _share(model, share) <= LARGEST_SHARE:
        if instruction_set() is None:
            say_once(f"{unavailable()}; dense PyTorch is used")
        else:
            try:
                use_engine(model)
            except InputError as error:
                say_once(f"{error}; dense PyTorch is used")
    elif name == "compiled" and epochs:
        if why := _cannot_compile(device):
            raise InputError(f"trainer.engine is 'compiled', but {why}. Allowed here: auto, dense.")
        return "compiled"
    elif name == "auto" and epochs >= COMPILED_FROM and not _cannot_compile(device):
        return "compiled"
    return "dense" if model.runner is None else "sparse"


def _cannot_compile(device: torch.device) -> str:
    """Why `torch.compile` has nothing to gain or cannot work here; empty where it can."""
    if device.type == "cpu":
        return "the device is a CPU"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        return "there is no C compiler"
    return ""


def describe(engine: str) -> str:
    """The engine and, of the sparse one, its instruction set."""
    return f"sparse ({instruction_set()})" if engine == "sparse" else engine


def _share(model: SparseNetwork, share: float | None) -> float:
    return len(model.connected()) / len(model.theta) if share is None else share


_said: set[str] = set()


def say_once(line: str) -> None:
    """Print a line, once in a process."""
    if line not in _said:
        _said.add(line)
        print(line, flush=True)
