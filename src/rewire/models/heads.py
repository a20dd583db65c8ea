"""Heads on one output layer: what the logits are trained to be (article).

SCE trains softmax(logits) by cross-entropy, LQ the logits and RQ ReLU(logits) by the quadratic
distance to the one-hot labels. The class is read from the logits whatever the head.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from rewire.options import HeadScale, NotNegative
from rewire.registry import HEADS


@HEADS.register("sce")
def sce(logits: Tensor, y: Tensor) -> Tensor:
    """Softmax cross-entropy, averaged over the batch.

    Args:
        logits: (B, classes).
        y: int64 (B,).
    """
    return F.cross_entropy(_exact(logits), y)


@HEADS.register("lq")
def lq(logits: Tensor, y: Tensor, *, scale: HeadScale = "as_coded") -> Tensor:
    """Half the squared distance of the logits to the one-hot labels.

    Args:
        logits: (B, classes).
        y: int64 (B,).
        scale: "as_coded" averages over batch and outputs, "sum" over the batch alone.
    """
    logits = _exact(logits)
    batch, classes = logits.shape
    one_hot = F.one_hot(y, classes).to(logits)
    divisor = 2 * batch * (classes if scale == "as_coded" else 1)
    return (one_hot - logits).square().sum() / divisor


@HEADS.register("rq")
def rq(logits: Tensor, y: Tensor, *, scale: HeadScale = "as_coded") -> Tensor:
    """`lq` of ReLU(logits): outputs of wrong classes may go below 0 freely.

    Args:
        scale: as that of `lq`.
    """
    return lq(logits.relu(), y, scale=scale)


def predict(logits: Tensor) -> Tensor:
    """The class of each image, int64 (B,): the largest logit, for every head.

    Softmax and ReLU keep the order; where ReLU makes all outputs 0 the logits still decide.
    """
    return logits.argmax(dim=1)


def l2_penalty(parameters: Iterable[Tensor], *, l2: NotNegative = 1e-4) -> Tensor:
    """l2 / 2 · Σ ‖p‖², over weights and biases alike (article's code).

    Added to the loss it does the same as `weight_decay=l2` of plain Adam (not AdamW).

    Args:
        parameters: at least one tensor, all on one device.
        l2: times half the squared norm of every weight and bias.
    """
    return l2 / 2 * torch.stack([p.square().sum() for p in parameters]).sum()


def _exact(logits: Tensor) -> Tensor:
    """At least float32: autocast gives halves."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
