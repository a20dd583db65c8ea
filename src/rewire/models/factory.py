"""Sparse networks by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from rewire.errors import InputError, unknown_name
from rewire.models.layout import check_sparsity, connection_budget, total_size
from rewire.models.masked import MaskedNetwork
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.options import Classes, Image, NotNegative, Shares, Width
from rewire.registry import FIXED, MODELS
from rewire.rng import generator

# What may happen to the connectivity in training: re-wired, or fixed from the start (baselines).
STATIC, DENSE = FIXED
CONNECTIVITIES = (REWIRED := "rewired", *FIXED)


def build_model(
    name: str,
    *,
    sparsity: float,
    seed: int,
    width: Width = 1.0,
    classes: Classes = 10,
    image_size: Image = 32,
    p_init_first: Shares = (0.6, 0.2),
    p_init_last: Shares = (0.6,),
    p_init_factor: NotNegative = 0.5,
    connectivity: str = REWIRED,
    **own: Any,
) -> SparseNetwork:
    """A freshly initialised sparse network.

    The first and last layers start with the given fractions connected, every layer between with
    `p_init_factor`·(1 − sparsity); rewiring then fills the network up to its budget (reference
    code: [.6, .2, 0.5p × 8, .6] for VGG11). A static network has its whole budget at once: the
    first and last layers have these fractions, and those between share the rest evenly.

    Args:
        name: a key of `MODELS`.
        sparsity: target share of unconnected weights, in (0, 1); 0 for a dense network.
        seed: of the initial weights, signs and connectivity.
        width: factor on all channel counts; 1 is the thesis's network.
        classes: outputs.
        image_size: pixels along one side of the images.
        p_init_first: share of connected weights of the first layers, in the beginning.
        p_init_last: the same of the last layers.
        p_init_factor: the same of every layer between, times (1 − sparsity).
        connectivity: "rewired", or a baseline of fixed connectivity: "static" (random)
            or "dense".
        own: options that this model alone has.

    Raises:
        InputError: for an unknown name, a width that is not positive, or initial fractions that
            connect more than the budget (nothing is ever removed to meet it).
    """
    if not 0 < width <= 16:
        raise InputError(f"model.width is {width}. Allowed: above 0, at most 16; 1 is full size.")
    if image_size < 16 or classes < 2:
        raise InputError(
            f"model.image_size is {image_size} and model.classes {classes}. Allowed: images of at "
            "least 16 pixels, at least 2 classes."
        )
    if connectivity not in CONNECTIVITIES:
        raise unknown_name("connectivity", connectivity, CONNECTIVITIES)
    check_sparsity(sparsity, dense=connectivity == DENSE)
    body = MODELS[name](width=width, classes=classes, image_size=image_size, **own)
    sizes = [
        math.prod(m.storage_shape)
        for m in body.modules()
        if isinstance(m, SparseConv2d | SparseLinear)
    ]
    first, last = len(p_init_first), len(p_init_last)
    middle = len(sizes) - first - last
    if middle < 0:
        raise InputError(f"p_init_first and p_init_last name more than the {len(sizes)} layers")
    p_init: Sequence[float | Fraction] = [
        *p_init_first,
        *[p_init_factor * (1 - sparsity)] * middle,
        *p_init_last,
    ]
    if connectivity == STATIC:
        budget = connection_budget(sum(sizes), sparsity)
        p_init = _filled(p_init, sizes, budget, slice(first, first + middle))
    if connectivity == DENSE:
        p_init = [1.0] * len(sizes)
    network = SparseNetwork if connectivity == REWIRED else MaskedNetwork
    model = network(body, p_init=p_init, generator=generator(seed, "model"))
    if connectivity != DENSE:
        _check_budget(model, sparsity)
    return model


def _check_budget(model: SparseNetwork, sparsity: float) -> None:
    budget = connection_budget(total_size(model.layers), sparsity)
    connected = int((model.flat_weights() != 0).sum())
    if connected > budget:
        raise InputError(
            f"the initial fractions p_init connect {connected} weights, more than the budget of "
            f"{budget} at sparsity {sparsity}. Allowed: smaller p_init_first, p_init_last or "
            "p_init_factor, a wider model, or a lower sparsity."
        )


def _filled(
    p_init: Sequence[float | Fraction], sizes: Sequence[int], budget: int, middle: slice
) -> list[Fraction | float]:
    """Fractions that connect exactly `budget` weights: those given, and evenly in `middle`."""
    filled: list[Fraction | float] = list(p_init)
    filled[middle] = [0] * len(filled[middle])
    rest = max(0, budget - sum(int(p * size) for p, size in zip(filled, sizes, strict=True)))
    left = sum(sizes[middle])
    for number in range(*middle.indices(len(sizes))):
        # Of what is left for the layers from here on, so that rounding loses no connection.
        count = min(sizes[number], round(Fraction(rest * sizes[number], left)))
        filled[number] = Fraction(count, sizes[number])
        rest, left = rest - count, left - sizes[number]
    return filled
