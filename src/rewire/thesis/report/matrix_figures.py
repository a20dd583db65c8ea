"""Matrix plots (thesis, figures 3-14) and per-layer densities, as PNG files and RGB arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rewire.errors import InputError
from rewire.reporting.canvas import BARS, new_figure, save_figure
from rewire.structure.vectors import as_matrix, connected, zero_vectors

# The two ends of viridis.
CONNECTED = (0xFD, 0xE7, 0x25)
ABSENT = (0x44, 0x01, 0x54)

MARGIN = 48  # px around and between panels
HEADER = 78  # px for the titles of the figure and the panels
MIN_SLOT = 210  # px that a panel title needs
SIDE = 512  # px that the longer side of a small matrix is enlarged to


def matrix_image(weight: np.ndarray, *, scale: int = 1) -> np.ndarray:
    """Yellow where w != 0 on dark, uint8 RGB (scale * vectors, scale * fan_out, 3).

    Rows are vectors (inputs), columns outputs: the (in, out) layout of the thesis.
    """
    palette = np.array([ABSENT, CONNECTED], dtype=np.uint8)
    pixels = palette[connected(as_matrix(weight)).T.astype(np.intp)]
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def matrix_plot(
    panels: Sequence[tuple[str, np.ndarray]], *, path: str | Path, suptitle: str = ""
) -> np.ndarray:
    """Draw matrices side by side and write them as a PNG with the same bytes every time.

    Every weight gets a square of whole pixels, at least one, without resampling, so no connection
    is lost however large the layer is. Titles carry the share of zero vectors.

    Args:
        panels: (title, weight); weights as (out, in) or (out, kh, kw, in).
        path: the PNG to write.
        suptitle: title of the whole figure.

    Returns:
        The figure as uint8 RGB (height, width, 3), fit for an image logger.

    Raises:
        InputError: if there is no panel.
    """
    if not panels:
        raise InputError("no panels to plot. Allowed: at least one (title, weight).")
    matrices = [as_matrix(weight) for _, weight in panels]
    images = [matrix_image(matrix, scale=max(1, SIDE // max(matrix.shape))) for matrix in matrices]
    slots = [max(MIN_SLOT, image.shape[1]) for image in images]
    width = sum(slots) + MARGIN * (len(slots) + 1)
    height = max(image.shape[0] for image in images) + HEADER + MARGIN

    figure = new_figure(width, height)
    figure.text(0.5, 1 - 10 / height, suptitle, ha="center", va="top", fontsize=11)
    left = MARGIN
    for (title, weight), matrix, image, slot in zip(panels, matrices, images, slots, strict=True):
        outputs, vectors = matrix.shape
        rows, columns = image.shape[:2]
        start, bottom = left + (slot - columns) // 2, height - HEADER - rows
        figure.figimage(image, xo=start, yo=bottom, origin="upper", resize=False)
        center = (left + slot / 2) / width
        share = 100 * zero_vectors(weight) / vectors
        text = f"{title}\n{share:.2f} % zero vectors"
        figure.text(center, 1 - (HEADER - 6) / height, text, ha="center", va="bottom", fontsize=9)
        label = f"{outputs} outputs"
        figure.text(center, (bottom - 6) / height, label, ha="center", va="top", fontsize=8)
        figure.text(
            (start - 6) / width,
            (bottom + rows / 2) / height,
            f"{vectors} inputs",
            ha="right",
            va="center",
            rotation=90,
            fontsize=8,
        )
        left += slot + MARGIN
    return save_figure(figure, path)


def density_plot(
    densities: Mapping[str, Mapping[str, float]],
    *,
    path: str | Path,
    title: str = "",
) -> np.ndarray:
    """Draw bars of the density of every layer, strategies side by side, on a logarithmic axis.

    Args:
        densities: strategy -> layer -> density in percent; the first strategy gives the order.
        path: the PNG to write; the same bytes every time.
        title: title of the figure.

    Returns:
        The figure as uint8 RGB (height, width, 3).

    Raises:
        InputError: if there is nothing to draw or the strategies have different layers.
    """
    layers = list(next(iter(densities.values()), {}))
    if not layers:
        raise InputError("no densities to plot. Allowed: at least one strategy with one layer.")
    for strategy, values in densities.items():
        if set(values) != set(layers):
            raise InputError(f"'{strategy}' has layers {list(values)}. Allowed: {layers}.")
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = new_figure(max(640, 180 + 90 * len(layers)), 440)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    positions = np.arange(len(layers))
    bar = 0.8 / len(densities)
    for index, (strategy, values) in enumerate(densities.items()):
        shift = (index - (len(densities) - 1) / 2) * bar
        heights = [values[layer] for layer in layers]
        color = BARS[index % len(BARS)]
        axes.bar(positions + shift, heights, width=bar, label=strategy, color=color)
    if any(value > 0 for values in densities.values() for value in values.values()):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(positions, layers, rotation=30, ha="right")
    axes.set_ylabel("density, % (log scale)" if axes.get_yscale() == "log" else "density, %")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(densities), frameon=False)
    return save_figure(figure, path)
