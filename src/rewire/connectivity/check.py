"""The promises of connectivity sampling, checked after a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewire.connectivity.sampling import Connectivity, ConnectivityError
from rewire.models.layout import SparseLayer


def check_connectivity(
    theta: Tensor,
    layers: Sequence[SparseLayer],
    *,
    before: Tensor,
    result: Connectivity,
    budget: int,
    step: int,
) -> None:
    """Raise `ConnectivityError` unless a step did what Algorithm 1 says.

    Args:
        theta: (N,) after the step.
        layers: all layers.
        before: bool (N,), connected after the noise and before the re-connections.
        result: what the step says it left behind.
        budget: K.
        step: its number, for the message.
    """
    now, listed = theta > 0, torch.zeros_like(before)
    listed[result.connected] = True
    for number, layer in enumerate(layers):
        is_connected, was_connected = layer.of(now), layer.of(before)
        made = int((is_connected & ~was_connected).sum())
        broken = {
            "other entries are listed than those with θ > 0": layer.of(listed) != is_connected,
            "a re-connection took a connection away": was_connected & ~is_connected,
        }
        problems = [problem for problem, where in broken.items() if where.any()]
        if made != int(result.growth[number]):
            problems.append(f"{made} entries were re-connected, not {int(result.growth[number])}")
        if problems:
            raise ConnectivityError(f"step {step}, layer {layer.name}: {'; '.join(problems)}")
    expected = max(budget, int(before.sum()))
    if len(result.connected) != expected:
        raise ConnectivityError(
            f"step {step}: {len(result.connected)} entries are connected, not {expected}"
        )
