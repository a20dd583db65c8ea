"""Training objectives, by the `name` in conf/objective.

Every module here that defines `loss` is an objective and is registered under its file name:
`loss(model, x, y, *, generator, ...) -> (scalar loss with graph, detached scalars to log)`.
`model` is in the mode that the caller chose (training mode in training) and so are its forward
passes; attacks inside an objective run in evaluation mode and leave gradients, modes and BatchNorm
statistics as they were. Accuracies are in %. No objective waits for the device.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from torch import Tensor

from rewire.errors import unknown_name
from rewire.objectives.options import check_options
from rewire.registry import Registry

Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]

OBJECTIVES: Registry[Loss] = Registry("objective")
for _module in pkgutil.iter_modules(__path__):
    _loss = getattr(importlib.import_module(f"{__name__}.{_module.name}"), "loss", None)
    if _loss is not None:
        OBJECTIVES.register(_module.name)(_loss)


def build_objective(name: str, **options: Any) -> Loss:
    """The objective `name` with these options fixed: call it as `(model, x, y, generator=...)`.

    Raises:
        InputError: for an unknown name, an option that this objective does not have, or a value
            that is not allowed.
    """
    loss = OBJECTIVES[name]
    parameters = inspect.signature(loss).parameters.values()
    allowed = [p.name for p in parameters if p.default is not inspect.Parameter.empty]
    for option in options:
        if option not in allowed:
            raise unknown_name(f"option of objective '{name}'", option, allowed)
    check_options(**options)
    return functools.partial(loss, **options)
