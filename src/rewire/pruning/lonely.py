"""Structured pruning of the thesis (section 4): remove every weight that is alone in its vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rewire.errors import unknown_name
from rewire.structure.vectors import lonely_mask


def select_layers(names: Sequence[str], layers: str | Sequence[str]) -> list[str]:
    """The names that `layers` stands for, in network order.

    Args:
        names: all layers in network order.
        layers: "all", "inner" (without the first and the last layer), one name, or several names.

    Raises:
        InputError: if a name is not one of `names`, with the nearest one and the list.
    """
    if layers == "all":
        return list(names)
    if layers == "inner":
        return list(names[1:-1])
    wanted = [layers] if isinstance(layers, str) else list(layers)
    for name in wanted:
        if name not in names:
            raise unknown_name("layer to prune", name, ["all", "inner", *names])
    return [name for name in names if name in wanted]


def prune_lonely(
    weights: Mapping[str, np.ndarray], *, layers: str | Sequence[str] = "all"
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Remove the weights that are the only non-zero of their vector, in one pass.

    The published loss of accuracy comes from very few weights, nearly all of which must sit in the
    first and the last layer: `layers="inner"` leaves these two alone.

    Args:
        weights: name -> weight (out, kh, kw, in) or (out, in), in network order; not changed.
        layers: "all" (the literal thesis), "inner", or names of layers.

    Returns:
        The pruned weights (new arrays, same names, shapes and types) and the number of removed
        weights of every layer, 0 for layers that were not selected.

    Raises:
        InputError: for an unknown layer.
    """
    selected = select_layers(list(weights), layers)
    pruned, removed = {}, {}
    for name, weight in weights.items():
        lonely = lonely_mask(weight) if name in selected else np.zeros(np.shape(weight), bool)
        pruned[name] = np.where(lonely, np.zeros((), weight.dtype), weight)
        removed[name] = int(lonely.sum())
    return pruned, removed
