"""Figures of the decoupled CNN: accuracy against pruning ratio, time against stored entries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rewire.article.counts import percents
from rewire.article.results import DecoupledPoint
from rewire.errors import InputError
from rewire.pruning.decoupled_cost import Cost
from rewire.reporting.canvas import BARS, new_figure, save_figure

COLOURS = ("#000000", *BARS)
STYLES = {"absolute": (":", "s"), "activated": ("-", "o")}
OTHER_STYLE = ("--", "^")
PANEL = (300, 260)  # px
IN_A_ROW = 5
LEGEND_COLUMN, LEGEND_ROW = 180, 20  # px


def robustness_plot(
    points: Sequence[DecoupledPoint], columns: Sequence[str], *, path: str | Path
) -> np.ndarray:
    """Draw accuracy against ratio: a panel per column, a colour per point, a line style per metric.

    The network that is not pruned is the grey line.

    Args:
        points: of the stage's metrics; the first one is not pruned.
        columns: titles of the panels.
        path: the PNG to write; the same bytes every time.

    Returns:
        The figure as uint8 RGB (height, width, 3).

    Raises:
        InputError: if nothing was pruned.
    """
    whole, *pruned = points
    if not pruned:
        raise InputError("no pruned network to plot. Allowed: at least one.")
    names = list(dict.fromkeys(point.point for point in pruned))
    curves = dict.fromkeys((point.point, point.metric) for point in pruned)
    in_a_row = min(IN_A_ROW, len(columns))
    rows = -(-len(columns) // in_a_row)
    width = max(3 * LEGEND_COLUMN, PANEL[0] * in_a_row)
    in_legend = width // LEGEND_COLUMN
    legend = LEGEND_ROW * (2 + len(curves) // in_legend)
    figure = new_figure(width, PANEL[1] * rows + legend, layout="constrained")
    panels = figure.subplots(rows, in_a_row, squeeze=False, sharex=True, sharey=True).flatten()
    for column, (panel, title) in enumerate(zip(panels, columns, strict=False)):
        panel.axhline(percents(whole)[column], color="0.6", label="not pruned")
        for name, metric in curves:
            of_curve = [p for p in pruned if (p.point, p.metric) == (name, metric)]
            line, marker = STYLES.get(metric, OTHER_STYLE)
            panel.plot(
                [100 * point.ratio for point in of_curve],
                [percents(point)[column] for point in of_curve],
                color=COLOURS[names.index(name) % len(COLOURS)],
                linestyle=line,
                marker=marker,
                markersize=3.5,
                label=f"{name}, {metric}",
            )
        panel.set_title(title, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(columns) :]:
        panel.set_axis_off()
    for panel in panels[::in_a_row]:
        panel.set_ylabel("accuracy, %")
    for panel in panels[: len(columns)][-in_a_row:]:
        panel.set_xlabel("pruned entries, %")
        panel.tick_params(labelbottom=True)
    panels[0].set_ylim(0, 100)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=in_legend,
        fontsize=8,
        frameon=False,
    )
    return save_figure(figure, path)


def cost_plot(cost: Cost, *, path: str | Path) -> np.ndarray:
    """Draw time against stored entries with the fitted lines: a panel per batch size.

    Args:
        cost: what `product_cost` returned.
        path: the PNG to write.

    Returns:
        The figure as uint8 RGB (height, width, 3).

    Raises:
        InputError: if nothing was measured.
    """
    sizes = list(dict.fromkeys(fit.batch_size for fit in cost.fits))
    if not sizes:
        raise InputError("no times to plot. Allowed: at least one backend and batch size.")
    backends = list(dict.fromkeys(fit.backend for fit in cost.fits))
    figure = new_figure(480 * len(sizes), 420, layout="constrained")
    for panel, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        for fit in (fit for fit in cost.fits if fit.batch_size == size):
            colour = BARS[backends.index(fit.backend) % len(BARS)]
            measured = [
                (row.entries / 1e6, 1e3 * row.seconds)
                for row in cost.measurements
                if (row.backend, row.batch_size) == (fit.backend, size)
            ]
            panel.plot(*zip(*measured, strict=True), "o", color=colour, markersize=4)
            ends = np.array([0, max(entries for entries, _ in measured)])
            label = (
                f"{fit.backend}: {1e3 * fit.a:.2g} ms + "
                f"{1e9 * fit.b:.2g} ms per million entries, $R^2$ = {fit.r2:.3f}"
            )
            panel.plot(ends, 1e3 * fit.a + 1e9 * fit.b * ends, color=colour, label=label)
        panel.set_title(f"{size} image{'s' if size > 1 else ''} at once", fontsize=10)
        panel.set_xlabel("stored entries, millions")
        panel.set_ylabel("one product, ms")
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=8, frameon=False, loc="upper left")
    return save_figure(figure, path)
