"""Charts of the article's trainings and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewire.article.report.curve_lines import panel_lines
from rewire.article.report.published_curves import Panel as Published
from rewire.article.report.published_curves import Plot
from rewire.article.report.runs import CLEAN, Run, chosen
from rewire.reporting.html.charts import Seeds, line
from rewire.reporting.html.model import Chart, Gallery, Group, Mark, Panel, Series


def article_training(histories: Mapping[str, Seeds]) -> Gallery:
    """Cell → histories of the article's trainings, each with its own axis of steps."""
    groups = []
    for cell, seeds in histories.items():
        charts = (
            Chart(label, "step", label, (line(cell, seeds, "step", column, 1),))
            for column, label in (
                ("validation_accuracy", "validation accuracy, %"),
                ("train_loss", "training loss"),
            )
        )
        groups.append(Group((cell,), tuple(Panel((("", chart),)) for chart in charts)))
    return Gallery("article-training", ("network",), tuple(groups))


def curves_gallery(plots: Sequence[Plot], runs: Sequence[Run]) -> Gallery:
    """The article's plots, ours as lines, published values as marks, one group per head."""
    groups = []
    for plot in plots:
        for head in sorted({run.head for run in runs if run.network == plot.network}):
            own = chosen(runs, network=plot.network, head=head)
            panels = tuple(
                Panel((("", _published_chart(panel, plot, own)),)) for panel in plot.panels
            )
            seeds = len({run.seed for run in own})
            note = f"{plot.caption} Lines: ours, {seeds} {'seed' if seeds == 1 else 'seeds'}; "
            note += f"bands: range over seeds and draws; circles: published, {plot.images:,} images"
            repeated = any(panel.repeat for panel in plot.panels)
            note += "; crosses: the author's own repeat." if repeated else "."
            name = plot.network.upper() + ": " + plot.title.replace("the CNN's ", "")
            groups.append(Group((name, head.upper()), panels, note))
    return Gallery("curves", ("plot", "head"), tuple(groups))


def _published_chart(panel: Published, plot: Plot, runs: Sequence[Run]) -> Chart:
    series = []
    lines = panel_lines(panel, runs)
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
