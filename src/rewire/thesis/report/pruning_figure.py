"""Accuracy against zero vectors, for ways of pruning trained networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from rewire.reporting.canvas import BARS, new_figure, save_figure

AS_TRAINED = "as trained"
COLOURS = (*BARS, "#000000", "#999999", "#8c564b", "#7f6fb0")
MARKERS = "osD^vPX*<>dph8"


@dataclass(frozen=True)
class Pruned:
    """A trained network after one way of pruning.

    Attributes:
        network: name of the trained cell.
        way: in words.
        family: the same without the method's numbers, so that its points are one line.
        removed, connected: connections that went, and weights that are left.
        zero_vectors: their share, in percent.
        accuracy: on clean test images, in percent.
    """

    network: str
    way: str
    family: str
    removed: int
    connected: int
    zero_vectors: float
    accuracy: float


def pruning_plot(rows: Sequence[Pruned], *, path: str | Path) -> np.ndarray:
    """Draw one colour per network and one marker per family of ways, and write it as a PNG.

    Points of a family are joined. The same bytes every time.

    Args:
        rows: at least one.

    Returns:
        The figure as uint8 RGB (height, width, 3).
    """
    figure = new_figure(860, 520, layout="constrained")
    axes = figure.add_subplot()
    networks = list(dict.fromkeys(row.network for row in rows))
    families = list(dict.fromkeys(row.family for row in rows))

    def place(row: Pruned) -> tuple[int, int]:
        return networks.index(row.network), families.index(row.family)

    for (network, family), group in groupby(sorted(rows, key=place), key=place):
        points = sorted((row.zero_vectors, row.accuracy) for row in group)
        axes.plot(
            *zip(*points, strict=True),
            color=COLOURS[network % len(COLOURS)],
            marker=MARKERS[family % len(MARKERS)],
            linestyle="-" if len(points) > 1 else "none",
            linewidth=1,
            markersize=7,
        )
    colours = [
        axes.plot([], [], color=COLOURS[i % len(COLOURS)], linewidth=3, label=name)[0]
        for i, name in enumerate(networks)
    ]
    shapes = [
        axes.plot([], [], "k", linestyle="none", marker=MARKERS[i % len(MARKERS)], label=name)[0]
        for i, name in enumerate(families)
    ]
    axes.set_xlabel("zero vectors, %")
    axes.set_ylabel("clean accuracy, %")
    axes.grid(alpha=0.3)
    figure.legend(handles=[*colours, *shapes], loc="outside right upper", fontsize=8)
    return save_figure(figure, path)
