"""Ways of pruning beside each other: rows from what the stages left, a table and a picture."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
from helpers.small import small
from helpers.toys_report import PRUNINGS
from matplotlib.image import imread

from rewire.files import read_json, write_json
from rewire.models.artifact import load_network, save_network
from rewire.thesis import evaluate, prune, structure, train
from rewire.thesis.prunings import NAME, prunings, words, write_prunings
from rewire.thesis.report import pruning_figure
from rewire.thesis.report.charts import pruning_gallery
from rewire.thesis.report.pruning_figure import Pruned, look, pruning_plot

CELL = "natural-s0.9-random-seed0"
WAYS = (
    (),
    ("prune=lonely_inner",),
    ("prune=poorest", "prune.zero_vectors=0.5"),
    ("prune=poorest", "prune.zero_vectors=0.7"),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    output = tmp_path_factory.mktemp("prunings")
    config, _ = small(output)
    train.run(config, [])
    for way in WAYS:
        config, _ = small(output, *way)
        prune.run(config, list(way))
        structure.run(config, list(way))
        config, _ = small(output, *way, "attack.images=5")
        evaluate.run(config, [*way, "attack.images=5"])
    return output / "quick"


def test_rows_have_the_numbers_of_the_stages(source):
    rows = list(prunings(source, [CELL]))
    assert [row.way for row in rows[:1]] == ["as trained"]
    assert sorted(row.way for row in rows[1:]) == [
        *("lonely", "lonely, inner layers", "poorest 0.5 connections", "poorest 0.7 connections"),
    ]
    assert [row.zero_vectors for row in rows[1:]] == sorted(row.zero_vectors for row in rows[1:])
    assert {row.network for row in rows} == {CELL}
    by_way = {row.way: row for row in rows}
    for way, folder in (
        ("lonely", CELL),
        ("lonely, inner layers", f"{CELL}-prune=lonely_inner"),
        ("poorest 0.7 connections", f"{CELL}-prune.zero_vectors=0.7-prune=poorest"),
    ):
        row = by_way[way]
        pruning = read_json(source / "prune" / folder / "metrics.json")
        report = read_json(source / "structure" / folder / "metrics.json")
        assert row.removed == pruning["removed_total"]
        assert row.connected == pruning["connected_after"] == report["pruned"]["connected"]
        assert row.zero_vectors == report["pruned"]["zero_vectors"]["percent"]
        (name,) = (
            path.name
            for path in (source / "evaluate").iterdir()
            if sorted(set(path.name.split("-")) - {"attack.images=5"}) == sorted(folder.split("-"))
        )
        found = read_json(source / "evaluate" / name / "metrics.json")
        assert row.accuracy == found["pruned"]["clean"]["accuracy"]
        assert rows[0].accuracy == found["trained"]["clean"]["accuracy"]
        assert rows[0].zero_vectors == report["trained"]["zero_vectors"]["percent"]


def test_the_trained_network_has_one_row_however_often_it_was_judged(source, tmp_path):
    copy = tmp_path / "quick"
    shutil.copytree(source, copy)
    (path,) = copy.glob(f"evaluate/{CELL}*lonely_inner*/metrics.json")
    values = read_json(path)
    values["trained"]["clean"]["correct"] += 1  # by another device
    values["trained"]["clean"]["accuracy"] += 0.1
    write_json(path, values)
    rows = list(prunings(copy, [CELL]))
    assert rows == list(prunings(source, [CELL]))
    assert write_prunings(copy, [CELL], tmp_path / "tables", tmp_path / "figures")


def test_networks_that_no_way_takes_anything_from_are_left_out(source, tmp_path):
    copy = tmp_path / "quick"
    shutil.copytree(source, copy)
    for path in copy.glob("prune/*/metrics.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r'"removed_total": \d+', '"removed_total": 0', text))
    assert list(prunings(source, [CELL]))
    assert not list(prunings(copy, [CELL]))


def test_what_was_made_from_another_network_is_left_out(source, tmp_path):
    copy = tmp_path / "quick"
    shutil.copytree(source, copy)
    weights = copy / "prune" / CELL / "weights.safetensors"
    (copy / "prune" / CELL / "manifest.json").rename(tmp_path / "manifest.json")
    assert "lonely" not in [row.way for row in prunings(copy, [CELL])]
    (tmp_path / "manifest.json").rename(copy / "prune" / CELL / "manifest.json")
    assert "lonely" in [row.way for row in prunings(copy, [CELL])]
    model, spec = load_network(copy / "train" / CELL / "weights.safetensors")
    weights = copy / "train" / CELL / "weights.safetensors"
    (copy / "train" / CELL / "manifest.json").unlink()
    model.theta.data.mul_(2)
    save_network(weights, model, spec=spec)
    assert list(prunings(copy, [CELL])) == []


def test_a_table_and_a_picture_where_several_ways_were_tried(source, tmp_path):
    text = write_prunings(source, [CELL], tmp_path / "tables", tmp_path / "figures")
    lines = text.splitlines()
    assert lines[0] == "# Ways of pruning"
    assert sum(CELL in line for line in lines) == 5
    assert len(read_json(tmp_path / "tables" / f"{NAME}.json")) == 5
    assert (tmp_path / "figures" / f"{NAME}.png").is_file()


def test_nothing_where_one_way_was_tried(source, tmp_path):
    copy = tmp_path / "quick"
    for stage in ("train", "prune", "structure"):
        shutil.copytree(source / stage / CELL, copy / stage / CELL)
    evaluated = f"{CELL}-attack.images=5"
    shutil.copytree(source / "evaluate" / evaluated, copy / "evaluate" / evaluated)
    assert len(list(prunings(copy, [CELL]))) == 2
    assert write_prunings(copy, [CELL], tmp_path / "tables", tmp_path / "figures") is None
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize(
    ("asked", "numbers", "expected"),
    [
        ({"name": "lonely"}, True, "lonely"),  # older results name nothing else of it
        (
            {
                "name": "poorest",
                "zero_vectors": 0.4,
                "order": "strength",
                "finetune": {"epochs": 1, "lr": 0.01},
            },
            True,
            "poorest 0.4 strength, 1 more epoch at 0.01",
        ),
        (
            {
                "name": "poorest",
                "share": 0.4,
                "order": "strength",
                "finetune": {"epochs": 2, "lr": 3e-3},
            },
            False,
            "poorest strength, 2 more epochs at 0.003",
        ),
        (
            {
                "name": "poorest",
                "zero_vectors": 0.0,
                "order": "strength",
                "reestimate_batchnorm": True,
            },
            True,
            "nothing, BatchNorm anew",
        ),
    ],
)
def test_words(asked, numbers, expected):
    assert (
        words({"layers": "all", "reestimate_batchnorm": False, **asked}, numbers=numbers)
        == expected
    )


def test_every_line_of_the_gallery_begins_at_the_trained_network():
    gallery = pruning_gallery(PRUNINGS)
    assert [group.key for group in gallery.groups] == [
        *(("natural-s0.99-l2-seed0",), ("natural-s0.99-random-seed0",)),
    ]
    (((_, chart),),) = [panel.charts for panel in gallery.groups[0].panels]
    assert [(s.label, s.x, s.y) for s in chart.series] == [
        ("lonely", (7.5, 19.25), (84.5, 58.5)),
        ("lonely, inner layers", (7.5, 19.2), (84.5, 60)),
        ("poorest", (7.5, 30.0, 50.0), (84.5, 41.0, 22.0)),
    ]


def test_the_picture_has_a_panel_for_each_network_and_a_colour_for_each_family(tmp_path):
    def row(network, family, empty, accuracy):
        return Pruned(network, family, family, 0, 0, empty, accuracy)

    rows = [row("a", "as trained", 2, 80), row("a", "x", 10, 60), row("a", "x", 20, 40)]
    rows += [row("b", "as trained", 5, 81), row("b", "y", 30, 70)]
    pixels = pruning_plot(rows, path=tmp_path / "one.png")
    again = pruning_plot(rows, path=tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert np.array_equal(pixels, again)
    read = (255 * imread(tmp_path / "one.png")[..., :3]).round().astype(np.uint8)
    left = np.arange(read.shape[1]) < read.shape[1] // 2
    panels = read[: read.shape[0] * 2 // 3]  # without the legend
    for colour, side in (((0x00, 0x72, 0xB2), left), ((0xE6, 0x9F, 0x00), ~left)):
        drawn = (panels == colour).all(-1)
        assert drawn[:, side].sum() > 50
        assert not drawn[:, ~side].any()


def test_networks_and_families_may_be_many(tmp_path):
    """Thirteen of each: none shares both colour and marker with another."""
    rows = []
    for i in range(13):
        rows.append(Pruned(f"n{i}", "as trained", "as trained", 0, 0, i, 80))
        rows.append(Pruned(f"n{i}", f"w{i}", f"w{i}", 0, 0, i + 5, 70))
    pixels = pruning_plot(rows, path=tmp_path / "many.png")
    assert pixels.shape[1] == 1000
    looks = {(look(i)["color"], look(i)["marker"]) for i in range(13)}
    assert len(looks) == 13


def test_long_names_do_not_run_into_each_other(tmp_path, monkeypatch):
    names = [f"natural-s0.99-weighted-seed{i}-decay-times-rate" for i in range(4)]
    rows = [Pruned(name, "as trained", "as trained", 0, 0, 5, 80) for name in names]
    drawn, save_figure = [], pruning_figure.save_figure

    def kept(figure, path):
        drawn.append(figure)
        return save_figure(figure, path)

    monkeypatch.setattr(pruning_figure, "save_figure", kept)
    pruning_plot(rows, path=tmp_path / "long.png")
    titles = [panel.title for panel in drawn[0].axes]
    assert ["".join(title.get_text().split("\n")) for title in titles] == names
    edges = [title.get_window_extent() for title in titles]
    assert all(one.x1 < next_one.x0 for one, next_one in pairwise(edges))
