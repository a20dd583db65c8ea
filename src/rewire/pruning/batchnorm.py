"""BatchNorm statistics for a network whose weights were changed after training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def reestimate_batchnorm(model: nn.Module, batches: Iterable[Sequence[Tensor]]) -> None:
    """Replace all running statistics by the plain average over `batches` (in place).

    Only the BatchNorm layers are put in training mode, and put back. Which variance of a batch is
    averaged is the layer's matter: `models.norm.BatchNorm2d` takes the biased one, as in training.

    Args:
        model: the changed network.
        batches: (x, ...) with x (B, C, H, W) in [0, 1]; at least one.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    try:
        for number, (x, *_) in enumerate(batches, start=1):
            for norm in norms:  # PyTorch's cumulative average by hand: the engine follows it, too
                norm.momentum = 1 / number
            model(x)
    finally:
        for norm, (training, momentum) in zip(norms, before, strict=True):
            norm.train(training)
            norm.momentum = momentum
