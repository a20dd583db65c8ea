"""Figures without a display and without global state, as PNG files of reproducible bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from rewire.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
# Colours that differ for every kind of sight.
BARS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def new_figure(width: int, height: int, *, layout: Literal["constrained"] | None = None) -> Figure:
    """An empty white figure of `width` x `height` pixels.

    Args:
        width, height: in pixels.
        layout: matplotlib's layout engine; None places axes as they are told.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Without pyplot: no global figures, no display.
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> np.ndarray:
    """Write `figure` as a PNG, the same bytes every time; returns uint8 RGB (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    assert isinstance(figure.canvas, FigureCanvasAgg), "a figure of `new_figure`"
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    with atomic_path(path) as temporary:
        # The library's version would be the only text in the file.
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
    return pixels
