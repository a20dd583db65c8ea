"""Accuracy against zero vectors, for ways of pruning trained networks."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from rewire.reporting.canvas import BARS, new_figure, save_figure

AS_TRAINED = "as trained"
COLOURS = (*BARS, "#999999", "#8c564b", "#7f6fb0")
MARKERS = "sD^vPX*<>dph8"  # as many as colours and more: no two families look alike
ACROSS, WIDTH = 4, 250  # panels beside each other, and pixels of each
TITLE = 34  # characters that are as wide as a panel


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


def by_family(rows: Iterable[Pruned]) -> Iterator[tuple[str, Pruned, dict[str, list[Pruned]]]]:
    """Every network, as trained, and its ways by family: lines that begin at the trained network.

    Args:
        rows: one network after the other, each first as trained, then by zero vectors.
    """
    for network, group in groupby(rows, key=lambda row: row.network):
        trained, *ways = group
        lines: dict[str, list[Pruned]] = {}
        for one in ways:
            lines.setdefault(one.family, [trained]).append(one)
        yield network, trained, lines


def pruning_plot(rows: Sequence[Pruned], *, path: str | Path) -> np.ndarray:
    """Draw one panel per network and in it one line per family of ways, and write it as a PNG.

    Every line begins at the trained network. The same bytes every time.

    Args:
        rows: as `by_family` takes them; at least one.

    Returns:
        The figure as uint8 RGB (height, width, 3).
    """
    networks = list(by_family(rows))
    families = list(dict.fromkeys(row.family for row in rows if row.family != AS_TRAINED))
    across = min(ACROSS, len(networks))
    down = math.ceil(len(networks) / across)
    height = 190 * down + 18 * math.ceil(len(families) / 2) + 50
    figure = new_figure(max(WIDTH * across, 560), height, layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flatten()
    for panel in panels[len(networks) :]:
        panel.axis("off")
    for panel, (network, trained, lines) in zip(panels, networks, strict=False):
        for family, points in lines.items():
            places = [(one.zero_vectors, one.accuracy) for one in points]
            panel.plot(*zip(*places, strict=True), linewidth=1, **look(families.index(family)))
        panel.plot(trained.zero_vectors, trained.accuracy, "ko", zorder=3)
        panel.set_title(textwrap.fill(network, TITLE), fontsize=8)
        panel.grid(alpha=0.3)
    for panel in panels[: len(networks)][-across:]:  # the lowest of every column
        panel.set_xlabel("zero vectors, %")
        panel.tick_params(labelbottom=True)
    for panel in panels[::across]:
        panel.set_ylabel("clean accuracy, %")
    handles = [panels[0].plot([], [], "ko", label=AS_TRAINED)[0]]
    for number, family in enumerate(families):
        handles += panels[0].plot([], [], linewidth=1, label=family, **look(number))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8)
    return save_figure(figure, path)


def look(number: int) -> dict[str, Any]:
    """Colour and marker of the family of that number."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 6,
    }
