"""Charts of trainings and of the sanity checks of an attack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rewire.reporting.html.charts import Seeds, line
from rewire.reporting.html.model import Chart, Gallery, Group, Panel, Series
from rewire.thesis.metrics import Examination
from rewire.thesis.report.pruning_figure import Pruned, by_family

DENSITY = "density_"
SWEEPS = {  # check of the examination → what it varies, in words and as label of the axis
    "epsilon_sweep": ("radius", "radius ε, 1/255"),
    "step_sweep": ("steps", "steps, one start"),
    "restart_sweep": ("restarts", "restarts of the reported attack"),
}


def training_gallery(histories: Mapping[str, Mapping[str, Seeds]]) -> Gallery:
    """Training → strategy → histories: accuracy, zero vectors, growth and density over epochs."""
    groups = []
    for training, by_strategy in histories.items():

        def chart(column: str, label: str, *, scale: float = 1, runs=by_strategy) -> Chart:
            series = tuple(
                line(name, seeds, "epoch", column, scale) for name, seeds in runs.items()
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


def pruning_gallery(found: Iterable[Pruned]) -> Gallery:
    """Accuracy over zero vectors: a chart per trained network, a line per family of ways.

    Every line begins at the network as it was trained.
    """
    groups = []
    for network, _, lines in by_family(found):
        series = tuple(
            Series(family, tuple(p.zero_vectors for p in points), tuple(p.accuracy for p in points))
            for family, points in lines.items()
        )
        chart = Chart(
            "clean accuracy over zero vectors", "zero vectors, %", "clean accuracy, %", series
        )
        groups.append(Group((network,), (Panel((("", chart),)),)))
    return Gallery("pruning", ("network",), tuple(groups))


def sanity_gallery(audits: Mapping[str, Mapping[str, Examination]]) -> Gallery:
    """Training → strategy → metrics of stage `audit`: accuracy as the attack gets stronger."""
    groups = []
    for training, by_strategy in audits.items():
        panels = []
        for check, (words, label) in SWEEPS.items():
            series = tuple(
                Series(name, tuple(map(float, values)), tuple(accuracy))
                for name, found in by_strategy.items()
                for sweep, values, accuracy in found.checks.sweeps()
                if sweep == check
            )
            if series:
                title = f"robust accuracy over {words}"
                chart = Chart(title, label, "correct images, %", series, (0, 100), even=True)
                panels.append(Panel((("", chart),)))
        groups.append(Group((training,), tuple(panels)))
    return Gallery("sanity", ("training",), tuple(groups))
