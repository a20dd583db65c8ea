"""Which engine computes a network: `trainer.engine`."""

from __future__ import annotations

import torch

from rewire.engine.library import instruction_set, unavailable
from rewire.engine.network import use_engine
from rewire.errors import InputError, unknown_name
from rewire.models.sparse import SparseNetwork

ENGINES = ("auto", "sparse", "dense")
LARGEST_SHARE = 0.2
"""Connected weights up to which the sparse engine is faster (docs/performance.md)."""


def set_engine(
    name: str, model: SparseNetwork, device: torch.device, *, share: float | None = None
) -> str:
    """Let the engine of that name compute `model` from here on; tells which one it is.

    `auto` takes the sparse one on a CPU where it was built, can follow the network, and pays.

    Args:
        name: of `ENGINES`.
        model: the network.
        device: where it computes.
        share: of weights that will be connected; None for what is connected now.

    Returns:
        "sparse" or "dense".

    Raises:
        InputError: for an unknown name, or `sparse` where that cannot be.
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
    return "dense" if model.runner is None else "sparse"


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
