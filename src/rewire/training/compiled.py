"""An objective whose passes are compiled: one kernel for what stands between two convolutions."""

from __future__ import annotations

import torch

from rewire.models.sparse import through
from rewire.training.replayed import Objective


def with_compiled_passes(objective: Objective, *, backend: str = "inductor") -> Objective:
    """The objective with the same numbers but for rounding, by `torch.compile`.

    Only its own passes through a `SparseNetwork` are compiled: the same network is judged by its
    modules.

    Args:
        objective: see `Replayed`.
        backend: of `torch.compile`.
    """
    # What another training of this process left behind would count against dynamo's limit.
    torch.compiler.reset()
    compiled = torch.compile(through, fullgraph=True, dynamic=False, backend=backend)

    def on_compiled(model, x, y, *, generator):
        model.through = compiled
        try:
            return objective(model, x, y, generator=generator)
        finally:
            model.through = through

    return on_compiled
