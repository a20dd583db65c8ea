"""Heads on one output layer: what the logits are trained to be (article).

SCE trains softmax(logits) by cross-entropy, LQ the logits and RQ ReLU(logits) by the quadratic
distance to the one-hot labels. The class is read from the logits whatever the head.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from rewire.errors import InputError, unknown_name
from rewire.registry import Registry

Loss = Callable[..., Tensor]
"""(logits (B, classes), labels int64 (B,)) -> scalar with graph, in at least float32."""

HEADS: Registry[Loss] = Registry("head")
LOSSES = {"cross_entropy": ("sce",), "quadratic": ("lq", "rq")}
"""Loss function -> the heads that it fits."""
SCALES = ("as_coded", "sum")
"""Divisors of a quadratic loss: as_coded 2 · classes · B, sum 2 · B."""


@HEADS.register("sce")
def sce(logits: Tensor, y: Tensor) -> Tensor:
    """Softmax cross-entropy, averaged over the batch.

    Args:
        logits: (B, classes).
        y: int64 (B,).
    """
    return F.cross_entropy(_exact(logits), y)


@HEADS.register("lq")
def lq(logits: Tensor, y: Tensor, *, scale: str = "as_coded") -> Tensor:
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
def rq(logits: Tensor, y: Tensor, *, scale: str = "as_coded") -> Tensor:
    """`lq` of ReLU(logits): outputs of wrong classes may go below 0 freely."""
    return lq(logits.relu(), y, scale=scale)


def build_head(name: str, *, scale: str = "as_coded") -> Loss:
    """The loss of the head `name`, to be called as `(logits, y)`.

    Args:
        name: a key of `HEADS`.
        scale: of a quadratic loss, a name in `SCALES`.

    Raises:
        InputError: for an unknown name or scale, or a scale that the head does not have.
    """
    loss = HEADS[name]
    if scale not in SCALES:
        raise unknown_name("loss scale", scale, SCALES)
    if name in LOSSES["quadratic"]:
        return functools.partial(loss, scale=scale)
    if scale != "as_coded":
        raise InputError(
            f"head '{name}' does not fit loss scale '{scale}'. Allowed: loss scale as_coded, "
            f"or head {', '.join(LOSSES['quadratic'])}."
        )
    return loss


def check_head_fits(head: str, loss: str) -> None:
    """Refuse to train or to attack a head by a loss function that is not its own.

    Args:
        head: a key of `HEADS`.
        loss: a key of `LOSSES`.

    Raises:
        InputError: for an unknown name, or if the two do not fit; names both.
    """
    HEADS[head]  # refuses an unknown name
    if loss not in LOSSES:
        raise unknown_name("loss", loss, LOSSES)
    if head not in LOSSES[loss]:
        (own,) = (name for name, heads in LOSSES.items() if head in heads)
        raise InputError(
            f"head '{head}' does not fit loss '{loss}'. Allowed: loss {own}, "
            f"or head {', '.join(LOSSES[loss])}."
        )


def predict(logits: Tensor) -> Tensor:
    """The class of each image, int64 (B,): the largest logit, for every head.

    Softmax and ReLU keep the order; where ReLU makes all outputs 0 the logits still decide.
    """
    return logits.argmax(dim=1)


def l2_penalty(parameters: Iterable[Tensor], coefficient: float = 1e-4) -> Tensor:
    """coefficient / 2 · Σ ‖p‖², over weights and biases alike (article's code).

    Added to the loss it does the same as `weight_decay=coefficient` of plain Adam (not AdamW).

    Args:
        parameters: at least one tensor, all on one device.
        coefficient: 0 or more.

    Raises:
        InputError: for a coefficient that is negative or not finite.
    """
    if not 0 <= coefficient < float("inf"):
        raise InputError(f"the L2 coefficient is {coefficient}. Allowed: 0 or more.")
    return coefficient / 2 * torch.stack([p.square().sum() for p in parameters]).sum()


def _exact(logits: Tensor) -> Tensor:
    """At least float32: autocast gives halves."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
