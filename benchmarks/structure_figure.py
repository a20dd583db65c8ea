"""Accuracy against milliseconds: what a network costs at inference, and how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.harness import Row
from rewire.reporting.canvas import BARS, new_figure, save_figure

ACCURACY = "test accuracy %"
RANDOM = "random"
DENSE_FORMS = ("dense", "onnxruntime")  # of the full width: as long whatever the weights are


def cost_plot(rows: Sequence[Row], *, path: Path) -> None:
    """Draw a panel per number of images and write it as a PNG, the same bytes every time.

    Points are networks whose accuracy is known: sparse ones on the engine, and dense ones with
    fewer channels as a line. What the full network takes in dense form is a vertical line.

    Args:
        rows: of inference; one at least with an accuracy.
    """
    sizes = list(dict.fromkeys(row["batch"] for row in rows))
    figure = new_figure(420 * len(sizes), 440, layout="constrained")
    known = [row for row in rows if ACCURACY in row and row["form"] in ("engine", "dense")]
    sparse = list(dict.fromkeys(row["network"] for row in known if row["form"] == "engine"))
    for i, size in enumerate(sizes):
        axes = figure.add_subplot(1, len(sizes), i + 1)
        here = [row for row in known if row["batch"] == size]
        for j, name in enumerate(sparse):
            points = [(r["ms"], r[ACCURACY]) for r in here if r["network"] == name]
            colour = BARS[j % len(BARS)]
            label = name.partition(": ")[2]
            axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=8, label=label)
        thin = sorted((r["ms"], r[ACCURACY], r["network"]) for r in here if r["form"] == "dense")
        if thin:
            axes.plot(
                [p[0] for p in thin], [p[1] for p in thin], "ks-", linewidth=1, label="dense, thin"
            )
            for milliseconds, accuracy, name in thin:
                axes.annotate(
                    name.removeprefix("thin "), (milliseconds, accuracy), (6, -12),
                    textcoords="offset points", fontsize=8,
                )  # fmt: skip
        for form, style in zip(DENSE_FORMS, ("--", ":"), strict=True):
            for row in rows:
                if (row["batch"], row["network"], row["form"]) == (size, RANDOM, form):
                    axes.axvline(row["ms"], color="#666666", linestyle=style, label=f"full, {form}")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(y=0.1)
        axes.set_title(f"{size} image{'s' if size > 1 else ''}")
        axes.set_xlabel("milliseconds")
        axes.grid(alpha=0.3, which="both")
        if i == 0:
            axes.set_ylabel("test accuracy, %")
            handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5, fontsize=8)
    save_figure(figure, path)
