"""Networks of fixed connectivity with ordinary weights: the baselines of rewiring."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from rewire.models.sparse import SparseNetwork


class MaskedNetwork(SparseNetwork):
    """The same network with w = m·θ: a mask m that never changes, and θ of both signs.

    What a network without rewiring is compared with (a fixed random mask, dense): here a
    weight may change its sign, and none dies. Initial weights are those of `SparseNetwork`.

    Attributes:
        theta: (N,) trainable, 0 outside of the mask.
        mask: (N,) bool, fixed.
    """

    mask: Tensor

    def __init__(
        self, body: nn.Module, *, p_init: Sequence[float | Fraction], generator: torch.Generator
    ):
        super().__init__(body, p_init=p_init, generator=generator)
        self.theta.data.mul_(self.sign)
        del self.sign
        self.register_buffer("mask", self.theta.data != 0)

    @classmethod
    @torch.no_grad()
    def of(cls, network: SparseNetwork) -> MaskedNetwork:
        """A copy of a network whose connectivity stays as it is now."""
        nothing = [0.0] * len(network.layers)
        fixed = cls(copy.deepcopy(network.body), p_init=nothing, generator=torch.Generator())
        fixed.theta.copy_(network.flat_weights())
        fixed.mask.copy_(fixed.theta != 0)
        return fixed

    def _lent(self, theta: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        parts = (theta * self.mask).to(dtype).split([layer.size for layer in self.layers])
        return tuple(layer.as_weight(part) for layer, part in zip(self.layers, parts, strict=True))

    @torch.no_grad()
    def connected(self) -> Tensor:
        """Sorted flat indices (K,) inside the mask."""
        state = self.mask._version, self.mask.data_ptr()
        if self._known is None or self._known[0] != state:
            with torch.inference_mode(False):
                self._known = state, self.mask.nonzero()[:, 0]
        return self._known[1]

    @torch.no_grad()
    def flat_weights(self) -> Tensor:
        return self.theta * self.mask

    def set_weights(self, weights: dict[str, Tensor]) -> None:
        """Not for a fixed mask: `load_network` gives a trained network in the sparse form."""
        raise NotImplementedError("a network of fixed connectivity keeps its weights")
