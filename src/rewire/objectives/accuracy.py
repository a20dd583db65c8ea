"""What the objectives log."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    """Share of correct predictions of a batch in %, a scalar on its device."""
    return 100 * (logits.argmax(dim=1) == y).float().mean()
