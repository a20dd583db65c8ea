"""A sparse network on the engine: `use_engine(model)`, and everything else stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rewire.engine.graph import check_hooks
from rewire.engine.index import Index
from rewire.engine.library import STORAGES, Geometry, kernels
from rewire.engine.ops import gather_weights
from rewire.engine.plan import Plan
from rewire.engine.steps import Weights
from rewire.errors import InputError
from rewire.models.sparse import SparseNetwork


@dataclass
class Lent:
    """The weights of one materialisation.

    Attributes:
        connected: (K,) flat indices.
        values: (K,) their weights, with or without their graph.
        source: the same without it; one object for one materialisation.
        constant: whether no gradient of a parameter will be asked for.
    """

    connected: Tensor
    values: Tensor
    source: Tensor
    constant: bool = False

    def detached(self) -> Lent:
        return replace(self, values=self.values.detach(), constant=True)


class SparseRunner:
    """Forward and backward passes of a `SparseNetwork` that touch connected weights only.

    Under autocast to bfloat16 activations are stored so; sums are always in float32, and so are
    the dense layers and the logits.

    Args:
        model: the network whose weights and modules are used.

    Raises:
        InputError: if there is no engine, it cannot follow the network, or, in a pass, too, one of
            its modules has a hook.
    """

    def __init__(self, model: SparseNetwork) -> None:
        kernels()
        check_hooks(model.body)
        self.plan = Plan(model.body)
        self._geometry: dict[tuple, list[Geometry]] = {}
        self._indices: dict[tuple, Index] = {}
        self._in_use: dict[tuple, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {
            "plan": self.plan,
            "_geometry": {},
            "_indices": {},
            "_in_use": {},
        }  # a copy finds its own

    def lend(self, model: SparseNetwork, *, detach: bool) -> Lent:
        if model.theta.dtype != torch.float32:
            raise InputError(
                f"the sparse engine computes in float32, the network is in {model.theta.dtype}. "
                "Allowed: its float(), or the engine 'dense'."
            )
        connected = model.connected()
        theta = model.theta.detach() if detach else model.theta
        sign = getattr(model, "sign", None)
        values = gather_weights(theta, sign, connected)
        return Lent(connected, values, values.detach())

    def forward(self, model: SparseNetwork, x: Tensor, lent: Lent) -> Tensor:
        check_hooks(model.body)
        autocast = torch.is_autocast_enabled("cpu")
        storage = torch.get_autocast_dtype("cpu") if autocast else torch.float32
        if storage not in STORAGES:
            raise InputError(
                f"autocast to {storage}. Allowed in the sparse engine: bfloat16; or none."
            )
        _, channels, height, width = x.shape
        index = self._index(model, (channels, height, width), storage, lent)
        sizes = [layer.size for layer in index.layers]
        weights = Weights(lent.values.split(sizes), index.layers, constant=lent.constant)
        with torch.autocast("cpu", enabled=False):
            return self.plan(x.float(), weights, storage)

    def _index(
        self, model: SparseNetwork, image: tuple[int, int, int], storage: torch.dtype, lent: Lent
    ) -> Index:
        """The index of the connectivity with the weights that are lent."""
        key = (image, storage)
        index = self._indices.get(key)
        if index is None or index.connected is not lent.connected:
            if key not in self._geometry:
                self._geometry[key] = self.plan.geometry(image, storage)
            geometry = self._geometry[key]
            index = self._indices[key] = Index(lent.connected, model.layers, geometry)
            self._in_use.pop(key, None)
        if self._in_use.get(key) is not lent.source:
            index.set_weights(lent.source)
            self._in_use[key] = lent.source
        return index


def use_engine(model: SparseNetwork) -> SparseNetwork:
    """Make all passes of `model` sparse from here on; returns it."""
    model.runner = SparseRunner(model)
    return model
