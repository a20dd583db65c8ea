"""Robust accuracy over the radius, the steps and the restarts of the attack, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rewire.errors import InputError
from rewire.reporting.canvas import new_figure, save_figure

PANEL, HEIGHT = 300, 300  # px
LINE, LEVEL = "#0072B2", "#D55E00"  # colour-blind safe (Okabe and Ito)


@dataclass(frozen=True)
class Sweep:
    """A panel: accuracy in percent over something that only makes the attack stronger.

    Attributes:
        label: of the horizontal axis.
        values: what is varied, rising.
        accuracy: in percent, one per value.
    """

    label: str
    values: Sequence[float]
    accuracy: Sequence[float]


def audit_plot(
    sweeps: Sequence[Sweep],
    *,
    path: str | Path,
    title: str = "",
    levels: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Draw the sweeps side by side and write them as a PNG, the same bytes every time.

    Args:
        sweeps: the panels; values are drawn at equal distances, as they grow by factors.
        path: the PNG to write.
        title: title of the figure.
        levels: name → accuracy in percent of other attacks, drawn as dashed lines in every panel.

    Returns:
        The figure as uint8 RGB (height, width, 3).

    Raises:
        InputError: if there is no panel, or one without exactly one accuracy per value.
    """
    if not sweeps:
        raise InputError("no sweeps to draw. Allowed: at least one.")
    for sweep in sweeps:
        if not len(sweep.values) == len(sweep.accuracy) > 0:
            raise InputError(
                f"'{sweep.label}' has {len(sweep.values)} values and {len(sweep.accuracy)} "
                "accuracies. Allowed: the same number of each, at least one."
            )
    figure = new_figure(PANEL * len(sweeps), HEIGHT, layout="constrained")
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(1, len(sweeps), sharey=True, squeeze=False)[0]
    for axes, sweep in zip(panels, sweeps, strict=True):
        for name, accuracy in (levels or {}).items():
            axes.axhline(accuracy, color=LEVEL, linestyle="--", linewidth=1, label=name)
        places = np.arange(len(sweep.values))
        axes.plot(places, sweep.accuracy, color=LINE, marker="o", markersize=4)
        axes.set_xticks(places, [f"{value:g}" for value in sweep.values], fontsize=8)
        axes.set_xlabel(sweep.label, fontsize=9)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(0, 100)
    panels[0].set_ylabel("correct images, %", fontsize=9)
    if levels:
        panels[-1].legend(fontsize=8, frameon=False)
    return save_figure(figure, path)
