"""Which layers are pruned."""

from __future__ import annotations

from collections.abc import Sequence

from rewire.errors import unknown_name


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
