"""The article's nine plots with our curves, as PNG files."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rewire.article.report.curve_lines import Line, panel_lines
from rewire.article.report.published_curves import Panel, Plot, Reading
from rewire.article.report.runs import CLEAN, Run, chosen
from rewire.reporting.canvas import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Black for the clean images; for the vectors Okabe and Ito's colours, with a dark red and an olive.
COLOURS = (
    "#000000", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#882255", "#D55E00",
    "#8F8F27",
)  # fmt: skip
WIDTH = 1200  # px
HEIGHTS = {1: 740, 3: 600}  # px by number of panels
WRAP = 175  # characters of a line of the caption
GAP = 0.04  # share of the axis between the unpruned point and the first ratio


def plot_curves(
    spec: Plot,
    runs: Sequence[Run],
    path: str | Path,
    *,
    note: str,
    head: str = "lq",
    evaluation: str = "E1",
) -> np.ndarray:
    """Draw one plot of the article at true pruning ratios and write it as a PNG.

    Lines are ours, the mean over draws and seeds; bands are the range over all of them. Open
    circles are the published values, crosses the author's own repeat. Without a run of the plot's
    network and head only the published values are drawn, and the title says so.

    Args:
        spec: the plot.
        runs: of any network.
        path: the PNG to write; the same bytes every time.
        note: the profile in words.
        head: "lq" or "rq".
        evaluation: "E1" as in the article, or "E2".

    Returns:
        The figure as uint8 RGB (height, width, 3).
    """
    runs = chosen(runs, network=spec.network, head=head)
    lines = {p.curve: panel_lines(p, runs, evaluation) for p in spec.panels}
    figure = new_figure(WIDTH, HEIGHTS[len(spec.panels)], layout="constrained")
    grid = figure.subplots(1, len(spec.panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(grid, spec.panels, strict=True):
        _draw(axes, panel, spec, lines[panel.curve])
    grid[0].set_ylabel("test accuracy" + (", noise clipped" if evaluation == "E2" else ""))
    _legend(figure, spec, lines)
    ran = _ran([line for found in lines.values() for line in found.values()])
    profile = f"{runs[0].profile} profile, " if runs else ""
    title = f"article, {spec.name}: {spec.title}\nhead {head}, {profile}{ran}"
    figure.suptitle(title, fontsize=12)
    texts = [f"{spec.caption} Published: {spec.images:,} test images.", note.strip()]
    text = "\n".join(textwrap.fill(paragraph, WRAP) for paragraph in texts)
    figure.supxlabel(text, fontsize=9, x=0.01, ha="left")
    return save_figure(figure, path)


def _draw(axes: Axes, panel: Panel, spec: Plot, lines: Mapping[str, Line]) -> None:
    start = 100 * spec.first_ratio
    unpruned = start - GAP * (100 - start) if start else 0.0

    def place(ratio: float) -> float:
        return 100 * ratio if ratio or not start else unpruned

    for index, column in enumerate(panel.readings):
        colour = COLOURS[index]
        if column in lines:
            line = lines[column]
            ratios = [r for r in line.mean if 100 * r >= start - 1e-9]
            x = [100 * ratio for ratio in ratios]
            low, high = ([part[r] for r in ratios] for part in (line.low, line.high))
            axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            y = [line.mean[r] for r in ratios]
            axes.plot(x, y, color=colour, linewidth=2.2 if column == CLEAN else 1.5)
            if start and 0.0 in line.mean:
                axes.plot(unpruned, line.mean[0.0], ".", color=colour, markersize=7)
        _markers(axes, panel.readings[column], place, colour, marker="o", size=5.5)
        _markers(axes, panel.repeat.get(column, ()), place, colour, marker="x", size=5)
    axes.set_xlim(unpruned - (0.02 * (100 - start)), 100)
    axes.set_ylim(0, 1.015)  # markers at the top stay whole
    axes.set_yticks(np.linspace(0, 1, 11))
    axes.set_xlabel("true pruning ratio, %")
    if start:
        ticks = [tick for tick in np.arange(start, 100.01, 1 if start >= 90 else 5)]
        axes.set_xticks([unpruned, *ticks], ["0", *(f"{tick:g}" for tick in ticks)])
        axes.axvline(start - GAP * (100 - start) / 2, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_title(panel.title, fontsize=10)
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _markers(
    axes: Axes, readings: Sequence[Reading], place: Any, colour: str, *, marker: str, size: float
) -> None:
    if readings:
        axes.errorbar(
            [place(reading.ratio) for reading in readings],
            [reading.accuracy for reading in readings],
            yerr=[reading.error for reading in readings],
            fmt=marker,
            markersize=size,
            markerfacecolor="white",
            markeredgecolor=colour,
            ecolor=colour,
            elinewidth=0.8,
            zorder=3,
        )


def _legend(figure: Figure, spec: Plot, lines: Mapping[str, Mapping[str, Line]]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    line = functools.partial(Line2D, [], [])
    handles: list[Artist] = [
        line(color=colour, linewidth=2, label=column if column != CLEAN else "clean")
        for colour, column in zip(COLOURS, spec.columns, strict=True)
    ]
    grey = "0.35"
    if any(lines.values()):
        handles.append(line(label="ours, mean", color=grey))
    if any(line.curves > 1 for found in lines.values() for line in found.values()):
        handles.append(Patch(alpha=0.3, label="ours, range", color=grey))
    hollow = functools.partial(line, linestyle="", markerfacecolor="white", color=grey)
    handles.append(hollow(marker="o", label="published"))
    if any(panel.repeat for panel in spec.panels):
        handles.append(hollow(marker="x", label="author's repeat"))
    title = "class/limit of the noise"
    figure.legend(handles=handles, loc="outside right upper", frameon=False, title=title)


def _ran(lines: Sequence[Line]) -> str:
    if not lines:
        return "not run: published values only"
    seeds, curves = max(line.seeds for line in lines), max(line.curves for line in lines)
    text = f"{seeds} {'seed' if seeds == 1 else 'seeds'}"
    return f"{text}, {curves} draws of the metric" if curves > seeds else text
