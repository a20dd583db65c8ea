"""Charts from histories, examinations and the article's plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewire.reporting.blog_data import CLEAN, Run, chosen_runs, mean
from rewire.reporting.blog_lines import panel_lines
from rewire.reporting.blog_published import Panel as Published
from rewire.reporting.blog_published import Plot
from rewire.reporting.html.model import Chart, Gallery, Group, Mark, Panel, Series

History = Sequence[Mapping[str, float]]
"""Rows of a history.csv as numbers; what is missing is not in a row."""
Seeds = Sequence[History]
"""The histories of one cell's seeds."""

DENSITY = "density_"
SWEEPS = (  # check of the examination, what it varies, label of the axis
    ("epsilon_sweep", "epsilons", "radius ε, 1/255"),
    ("step_sweep", "steps", "steps, one start"),
    ("restart_sweep", "restarts", "restarts of the reported attack"),
)


def training_gallery(histories: Mapping[str, Mapping[str, Seeds]]) -> Gallery:
    """Training → strategy → histories: accuracy, zero vectors, growth and density over epochs."""
    groups = []
    for training, by_strategy in histories.items():

        def chart(column: str, label: str, *, scale: float = 1, runs=by_strategy) -> Chart:
            series = tuple(
                _line(name, seeds, "epoch", column, scale) for name, seeds in runs.items()
            )
            return Chart(label, "epoch", label, tuple(line for line in series if line.x))

        rows = [row for seeds in by_strategy.values() for history in seeds for row in history]
        columns = dict.fromkeys(key for row in rows for key in row)
        layers = [key for key in columns if key.startswith(DENSITY)]
        panels = [
            Panel(
                (
                    ("test", chart("test_accuracy", "test accuracy, %")),
                    ("validation", chart("validation_accuracy", "validation accuracy, %")),
                    ("training", chart("train_clean_accuracy", "training accuracy, %")),
                    ("loss", chart("train_loss", "training loss")),
                ),
                "measure",
            ),
            Panel((("", chart("zero_vectors", "zero vectors, %")),)),
            Panel((("", chart("births", "growth: new connections in the epoch")),)),
            Panel(
                tuple(
                    (
                        layer.removeprefix(DENSITY),
                        chart(
                            layer, f"density of {layer.removeprefix(DENSITY)}, % connected",
                            scale=100,
                        ),
                    )
                    for layer in layers
                ),
                "layer",
            ),
        ]  # fmt: skip
        shown = [Panel(tuple((n, c) for n, c in p.charts if c.series), p.choice) for p in panels]
        groups.append(Group((training,), tuple(panel for panel in shown if panel.charts)))
    return Gallery("training", ("training",), tuple(groups))


def article_training(histories: Mapping[str, Seeds]) -> Gallery:
    """Cell → histories of the article's trainings, each with its own axis of steps."""
    groups = []
    for cell, seeds in histories.items():
        charts = (
            Chart(label, "step", label, (_line(cell, seeds, "step", column, 1),))
            for column, label in (
                ("validation_accuracy", "validation accuracy, %"),
                ("train_loss", "training loss"),
            )
        )
        groups.append(Group((cell,), tuple(Panel((("", chart),)) for chart in charts)))
    return Gallery("article-training", ("network",), tuple(groups))


def sanity_gallery(audits: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Gallery:
    """Training → strategy → metrics of stage `audit`: accuracy as the attack gets stronger."""
    groups = []
    for training, by_strategy in audits.items():
        panels = []
        for check, varied, label in SWEEPS:
            series = tuple(
                Series(
                    name,
                    tuple(map(float, found["checks"][check][varied])),
                    tuple(
                        100 * k / found["checks"][check]["images"]
                        for k in found["checks"][check]["correct"]
                    ),
                )
                for name, found in by_strategy.items()
                if check in found["checks"]
            )
            if series:
                title = f"robust accuracy over {varied}"
                chart = Chart(title, label, "correct images, %", series, (0, 100), even=True)
                panels.append(Panel((("", chart),)))
        groups.append(Group((training,), tuple(panels)))
    return Gallery("sanity", ("training",), tuple(groups))


def curves_gallery(plots: Sequence[Plot], runs: Sequence[Run]) -> Gallery:
    """The article's plots, ours as lines, published values as marks, one group per head."""
    groups = []
    for plot in plots:
        for head in sorted({run.head for run in runs if run.network == plot.network}):
            chosen = chosen_runs(runs, network=plot.network, head=head)
            panels = tuple(
                Panel((("", _published_chart(panel, plot, chosen)),)) for panel in plot.panels
            )
            seeds = len({run.seed for run in chosen})
            note = f"{plot.caption} Lines: ours, {seeds} {'seed' if seeds == 1 else 'seeds'}; "
            note += f"bands: range over seeds and draws; circles: published, {plot.images:,} images"
            repeated = any(panel.repeat for panel in plot.panels)
            note += "; crosses: the author's own repeat." if repeated else "."
            name = plot.network.upper() + ": " + plot.title.replace("the CNN's ", "")
            groups.append(Group((name, head.upper()), panels, note))
    return Gallery("curves", ("plot", "head"), tuple(groups))


def _published_chart(panel: Published, plot: Plot, runs: Sequence[Run]) -> Chart:
    series = []
    lines = panel_lines(panel, plot, runs)
    for column, readings in panel.readings.items():
        marks = [Mark(100 * r.ratio, 100 * r.accuracy, 100 * r.error) for r in readings]
        marks += [
            Mark(100 * r.ratio, 100 * r.accuracy, 100 * r.error, repeat=True)
            for r in panel.repeat.get(column, ())
        ]
        line = lines.get(column)
        # Where the article's axis begins late, the unpruned network is a point of its own.
        begins = plot.first_ratio - 1e-9
        ratios = [ratio for ratio in (line.mean if line else {}) if ratio >= begins or ratio == 0]
        series.append(
            Series(
                "clean" if column == CLEAN else column,
                tuple(100 * ratio for ratio in ratios),
                tuple(100 * line.mean[ratio] for ratio in ratios) if line else (),
                tuple(100 * line.low[ratio] for ratio in ratios) if line else (),
                tuple(100 * line.high[ratio] for ratio in ratios) if line else (),
                tuple(marks),
            )
        )
    return Chart(
        title=panel.title,
        x_label="pruned, % of the weights",
        y_label="test accuracy, %",
        series=tuple(series),
        y_range=(0, 100),
        start=100 * plot.first_ratio if plot.first_ratio else None,
    )


def _line(label: str, seeds: Seeds, x: str, y: str, scale: float) -> Series:
    """Mean over seeds wherever one has a value, with their range if there are several."""
    values: dict[float, list[float]] = {}
    for history in seeds:
        for row in history:
            if x in row and y in row:
                values.setdefault(row[x], []).append(scale * row[y])
    low = high = ()
    if len(seeds) > 1:
        low = tuple(min(each) for each in values.values())
        high = tuple(max(each) for each in values.values())
    return Series(label, tuple(values), tuple(map(mean, values.values())), low, high)
