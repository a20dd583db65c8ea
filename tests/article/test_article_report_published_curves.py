"""The published values of the article agree with each other."""

from __future__ import annotations

import copy
import functools
from itertools import pairwise

import pytest
import yaml
from helpers.toys_article import COLUMNS, CONF, EIGHT, PLOTS

from rewire.article.report.published_curves import load_plot, parse_plot
from rewire.article.report.runs import VECTORS
from rewire.errors import InputError
from rewire.reporting.table_spec import load_spec

NAMES = [
    "CNN_L1_absvalue", "CNN_L1_pruning", "CNN_L2_absvalue", "CNN_L2_pruning", "abs_layer_pruning",
    "abs_value_pruning", "acti_layer_pruning", "acti_values_pruning", "combined_pruning",
]  # fmt: skip
TABLE = load_spec(CONF / "table" / "article_table1.yaml")


@functools.cache
def plot(name: str):
    return load_plot(CONF / "published" / f"{name}.yaml")


def raw(name: str) -> dict:
    return yaml.safe_load((CONF / "published" / f"{name}.yaml").read_text())


def accuracy(name: str, column: str, x: float, panel: int = 0) -> float:
    (found,) = [r for r in plot(name).panels[panel].readings[column] if r.x == x]
    return found.accuracy


def published(label: str, column: str) -> float:
    (row,) = [row for row in TABLE.rows if row.label == label]
    return row.published[column]


def test_there_are_nine_plots_with_all_their_columns() -> None:
    assert [path.stem for path in PLOTS] == NAMES
    for path in PLOTS:
        found = plot(path.stem)
        assert found.name == path.stem
        for panel in found.panels:
            eight = [c if c != "5/.15" else "5/.1" for c in panel.readings if c != "none"]
            assert eight == EIGHT[found.network]
            assert next(iter(panel.readings)) == "none"
            assert set(panel.readings) <= set(COLUMNS[found.network])
    assert {name: list(VECTORS[name]) for name in EIGHT} == EIGHT
    assert "5/.15" in plot("abs_value_pruning").columns


def test_panels_name_curves_that_are_measured() -> None:
    shown = set()
    for path in PLOTS:
        found = plot(path.stem)
        curves = yaml.safe_load((CONF / "curves" / f"{found.network}.yaml").read_text())
        for panel in found.panels:
            assert panel.curve in curves["list"], (path, panel.curve)
            shown.add((found.network, panel.curve))
    assert len(shown) == 3 + 6 + 4


@pytest.mark.parametrize("path", PLOTS, ids=lambda path: path.stem)
def test_readings_are_shares_on_a_growing_axis(path) -> None:
    for panel in plot(path.stem).panels:
        for readings in [*panel.readings.values(), *panel.repeat.values()]:
            assert all(a.x < b.x and a.ratio < b.ratio for a, b in pairwise(readings))
            assert all(0 <= reading.accuracy <= 1 for reading in readings)
            assert all(0.002 < reading.error < 0.031 for reading in readings)


def test_true_ratios_are_one_step_less_and_the_first_point_is_unpruned() -> None:
    found = {r.x: r.ratio for r in plot("abs_value_pruning").panels[0].readings["none"]}
    assert (found[0], found[40], found[91], found[99]) == (0.0, 0.39, 0.9, 0.98)
    for name, first, second in (("CNN_L1_pruning", 0.9, 0.902), ("CNN_L2_pruning", 0.7, 0.8)):
        found = {r.x: r.ratio for r in plot(name).panels[0].readings["none"]}
        assert found[first] == 0.0
        assert found[second] == pytest.approx(second - 0.002, abs=1e-12)
        assert plot(name).first_ratio == first


def test_values_by_eye_are_marked_and_absent_ones_left_out() -> None:
    readings = plot("abs_value_pruning").panels[0].readings
    assert [r.x for r in readings["8/.2"] if r.by_eye] == [0, 50, 99]
    assert not any(r.by_eye for r in readings["7/.3"])
    assert [r.x for r in plot("combined_pruning").panels[0].readings["3/.25"]][-1] == 97
    assert [r.x for r in plot("acti_layer_pruning").panels[1].readings["2/.25"]][-1] == 97


def test_baselines_of_the_plots_are_the_table_s_row_without_pruning() -> None:
    for name in ("abs_value_pruning", "acti_values_pruning", "combined_pruning"):
        for column in plot(name).columns:
            if column in TABLE.columns:
                expected = published("No pruning, LQ", column) / 100
                assert accuracy(name, column, 0) == pytest.approx(expected, abs=0.003)
    assert accuracy("abs_value_pruning", "5/.15", 0) == 0.856
    for column in EIGHT["cnn"]:
        starts = [accuracy(f"CNN_{x}", column, 0.9) for x in ("L1_pruning", "L1_absvalue")]
        starts += [accuracy(f"CNN_{x}", column, 0.7) for x in ("L2_pruning", "L2_absvalue")]
        assert max(starts) - min(starts) <= 0.003


def test_absolute_90_percent_is_the_plot_at_91() -> None:
    for column in EIGHT["ann"]:
        if column != "5/.1":  # the plot shows 5/.15
            found = accuracy("abs_value_pruning", column, 91)
            expected = published("Absolute 90 %, LQ", column) / 100
            assert found == pytest.approx(expected, abs=0.006)


def test_layer_plots_start_from_one_baseline_in_every_panel() -> None:
    for column in ["none", *EIGHT["ann"]]:
        starts = {
            accuracy(name, column, 0, panel)
            for name in ("abs_layer_pruning", "acti_layer_pruning")
            for panel in range(3)
        }
        assert len(starts) == 1


def test_means_of_the_table() -> None:
    expected = {"No pruning": 49.86, "Absolute 90 %": 63.42, "Activated 81 %": 68.88}
    expected["Absolute 85 % and activated 80 %"] = 68.38
    for label, mean in expected.items():
        for suffix in ("LQ", "RQ (as run)"):
            row = f"{label}, {suffix}"
            assert published(row, "mean") == mean
            values = [published(row, column) for column in EIGHT["ann"]]
            assert sum(values) / 8 == pytest.approx(mean, abs=0.0051)
    ours = [row for row in TABLE.rows if "matched" in row.label or "clipped" in row.label]
    assert len(ours) == 7
    assert all(value is None for row in ours for value in row.published.values())


def test_the_author_s_repeat_differs_as_it_was_read() -> None:
    panel = plot("CNN_L2_pruning").panels[0]
    first = {r.x: r.accuracy for r in panel.readings["none"]}
    differences = [r.accuracy - first[r.x] for r in panel.repeat["none"]]
    expected = [0, 0, 0, 0.018, 0.082, 0.002, -0.014, -0.1]
    assert differences == pytest.approx(expected, abs=0.0011)
    assert [r.accuracy for r in panel.repeat["2/.25"]][:2] == [0.219, 0.213]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.pop("step"), "step"),
        (lambda p: p.update(colour="red"), "colour"),
        (lambda p: p.update(network="vgg"), "vgg"),
        (lambda p: p["panels"][0]["x"].__setitem__(1, 0), "growing"),
        (lambda p: p["panels"][0]["accuracy"]["none"].append(0.5), "none"),
        (lambda p: p["panels"][0]["accuracy"]["none"].__setitem__(0, 98.6), "98.6"),
        (lambda p: p["panels"][0]["accuracy"]["none"].__setitem__(0, "~high"), "high"),
        (lambda p: p.update(error=[[50, 0.003]]), "reading error"),
    ],
)
def test_damaged_values_are_refused(change, says: str) -> None:
    content = copy.deepcopy(raw("abs_value_pruning"))
    change(content)
    with pytest.raises(InputError, match=says):
        parse_plot(content)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_plot(tmp_path / "nowhere.yaml")
