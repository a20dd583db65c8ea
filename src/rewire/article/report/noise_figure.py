"""Pictures of universal noise vectors, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rewire.errors import InputError
from rewire.reporting.canvas import new_figure, save_figure

SIDE = 28  # pixels of an image
PANEL = 84  # px of a drawn vector: three for every pixel of the image
GAP, TITLE = 12, 20  # px between panels and above each of them
SUPTITLE = 30  # px


def noise_plot(
    panels: Sequence[tuple[str, np.ndarray, float]],
    *,
    path: str | Path,
    suptitle: str = "",
    columns: int = 9,
) -> np.ndarray:
    """Draw every vector as an image and write the figure as a PNG, the same bytes every time.

    Blue is -limit, white 0, red +limit: each vector has the scale of its own limit.

    Args:
        panels: (title, vector (784,), limit).
        path: the PNG to write.
        suptitle: title of the whole figure.
        columns: panels per row.

    Returns:
        The figure as uint8 RGB (height, width, 3), fit for an image logger.

    Raises:
        InputError: if there is no panel.
    """
    if not panels:
        raise InputError("no noise to draw. Allowed: at least one (title, vector, limit).")
    across = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width = GAP + across * (PANEL + GAP)
    height = SUPTITLE + rows * (TITLE + PANEL) + GAP
    figure = new_figure(width, height)
    figure.text(0.5, 1 - 8 / height, suptitle, ha="center", va="top", fontsize=9)
    for number, (title, vector, limit) in enumerate(panels):
        row, column = divmod(number, columns)
        left = GAP + column * (PANEL + GAP)
        bottom = height - SUPTITLE - (row + 1) * (TITLE + PANEL)
        colours = _blue_white_red(np.reshape(vector, (SIDE, SIDE)) / limit)
        enlarged = colours.repeat(PANEL // SIDE, axis=0).repeat(PANEL // SIDE, axis=1)
        figure.figimage(enlarged, xo=left, yo=bottom, origin="upper", resize=False)
        middle, top = (left + PANEL / 2) / width, (bottom + PANEL + 3) / height
        figure.text(middle, top, title, ha="center", va="bottom", fontsize=8)
    return save_figure(figure, path)


def _blue_white_red(values: np.ndarray) -> np.ndarray:
    """Values in [-1, 1] as uint8 RGB."""
    from matplotlib import colormaps

    return colormaps["bwr"]((values + 1) / 2, bytes=True)[..., :3]
