"""The momentum step of a flat parameter on the entries that move; the others catch up when needed.

Of the millions of entries of θ only the connected ones have a gradient. An unconnected one decays
and coasts on its velocity; unless that can carry it above zero, nobody looks at its value before it
is connected again, and then θ is set anew and only its velocity counts. So a step moves connected
entries and those few, and notes for the others when they were last moved. `settle` makes up for all
of it, with the same operations in the same order: the bits of a step over everything.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rewire.engine.library import kernels, pointer

MARGIN = 1.01  # of how far a velocity can carry, for rounding


class ListedSteps:
    """θ ← keep·θ + v with v ← momentum·v − rate·g, where g is zero but on a list (thesis, 2).

    Args:
        theta: (N,) float32 on the CPU; changed in place.
        velocity: (N,) likewise.
        momentum: of all steps.
        smallest_keep: the smallest `keep` of all steps.

    Attributes:
        moving: unconnected entries (sorted in no order) that their velocity may connect again.
    """

    def __init__(
        self, theta: Tensor, velocity: Tensor, *, momentum: float, smallest_keep: float
    ) -> None:
        self.theta, self.velocity, self.momentum = theta, velocity, momentum
        share = momentum / smallest_keep
        self._reach = MARGIN * share / (1 - share) if share < 1 else float("inf")
        self._done = torch.zeros(theta.shape, dtype=torch.int32)
        self._keeps: list[float] = []  # of the steps since everything was up to date
        self._before: Tensor | None = None  # the entries of the last step
        dormant = ((theta <= 0) & (velocity > 0)).nonzero()[:, 0]
        self.moving = self._still_moving(dormant)

    def step(self, connected: Tensor, gradient: Tensor, *, keep: float, rate: float) -> None:
        """One step; `connected` (K,) are all entries above zero, `gradient` (K,) theirs."""
        if self._before is not None:
            self.moving = self._still_moving(torch.cat([self._before, self.moving]))
        for entries, values in ((connected, gradient), (self.moving, None)):
            kernels().rewire_step(
                *map(pointer, (self.theta, self.velocity, self._done, entries, values)),
                len(entries), len(self._keeps), keep, self.momentum, rate, torch.get_num_threads(),
            )  # fmt: skip
        self._keeps.append(keep)
        self._before = connected
        torch.autograd.graph.increment_version(self.theta)

    def settle(self) -> None:
        """Bring every entry up to date."""
        if not self._keeps:
            return
        keeps = torch.tensor(self._keeps, dtype=torch.float32)
        kernels().rewire_settle(
            *map(pointer, (self.theta, self.velocity, self._done)), len(self.theta),
            pointer(keeps), len(keeps), self.momentum, torch.get_num_threads(),
        )  # fmt: skip
        self._keeps = []

    def _still_moving(self, entries: Tensor) -> Tensor:
        found = torch.empty_like(entries)
        count = kernels().rewire_moving(
            *map(pointer, (self.theta, self.velocity, entries)), len(entries), self._reach,
            pointer(found), torch.get_num_threads(),
        )  # fmt: skip
        return found[:count].clone()
