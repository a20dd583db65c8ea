"""Stands in for the rewiring Callback where nothing is re-wired: the baselines."""

from __future__ import annotations

import torch

from rewire.connectivity.sampling import Connectivity
from rewire.models.layout import connected_per_layer
from rewire.training.lean import pl


class FixedConnectivity(pl.Callback):
    """Says of a `MaskedNetwork` what `Rewiring` says of a network that it re-wires.

    Args:
        budget: connected weights.

    Attributes:
        growth, surplus_steps, largest_surplus: 0, as nothing is ever re-connected.
        last: the connectivity that never changes.
    """

    growth = surplus_steps = largest_surplus = 0
    last: Connectivity | None = None

    def __init__(self, *, budget: int) -> None:
        self.budget = budget

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        layers, connected = module.model.layers, module.model.mask.nonzero()[:, 0]
        self.last = Connectivity(
            connected=connected,
            per_layer=connected_per_layer(connected, layers).cpu(),
            growth=torch.zeros(len(layers), dtype=torch.int64),
            surplus=0,
        )
