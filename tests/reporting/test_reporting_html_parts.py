"""What the report is made of: packed matrices, charts and headlines."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest
from helpers.toys_article import PLOTS, published, published_run
from helpers.toys_report import CONF, NOTE, audit, history, locate, results, view

from rewire.article.report.best_performance import ordering
from rewire.article.report.charts import curves_gallery
from rewire.article.report.claims import score_claims
from rewire.article.report.findings import article_findings
from rewire.evaluation.findings import Flag
from rewire.reporting.build_table import build_table
from rewire.reporting.html.findings import IN_PART, NOT_JUDGED, REPRODUCED
from rewire.reporting.html.tables import table_view
from rewire.reporting.table import COMPARABLE_PROFILE
from rewire.reporting.table_spec import load_spec
from rewire.thesis.report.charts import sanity_gallery, training_gallery
from rewire.thesis.report.findings import thesis_findings
from rewire.thesis.report.matrices import pack_layer, varints


def unpacked(layer) -> np.ndarray:
    """Values -127 ... 127 as (outputs, vectors), read as the page's script reads them."""
    flat = np.zeros(layer.outputs * layer.vectors, np.int64)
    values = np.frombuffer(base64.b64decode(layer.values), np.int8)
    places, place, gap, shift = [], 0, 0, 0
    for byte in base64.b64decode(layer.places):
        gap |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            place += gap
            places.append(place)
            gap = shift = 0
    flat[places] = values
    assert len(places) == len(values) == layer.connected
    return flat.reshape(layer.vectors, layer.outputs).T


@pytest.mark.parametrize("shape", [(7, 40), (5, 3, 3, 11), (300, 200)])
def test_a_packed_layer_keeps_every_connection_its_sign_and_its_size(shape):
    random = np.random.default_rng(1)
    weight = random.normal(size=shape) * (random.random(shape) < 0.02)
    weight.flat[:2] = 1e-9, -1e-9  # tiny, and connected all the same
    layer = pack_layer("x", weight)
    matrix = weight.reshape(shape[0], -1)
    found = unpacked(layer)
    assert np.array_equal(found != 0, matrix != 0)
    assert np.array_equal(np.sign(found), np.sign(matrix))
    assert np.abs(found * layer.largest / 127 - matrix).max() <= layer.largest / 127
    assert layer.zero_vectors == int((matrix == 0).all(axis=0).sum())


def test_a_layer_without_connections_is_packed_too():
    layer = pack_layer("x", np.zeros((3, 4)))
    assert (layer.connected, layer.zero_vectors, layer.places, layer.values) == (0, 4, "", "")


def test_varints_are_leb128():
    assert varints(np.array([0, 127, 128, 300, 16384])) == bytes.fromhex("007f8001ac02808001")
    assert varints(np.array([], int)) == b""


def test_curves_of_several_seeds_are_their_mean_and_range():
    gallery = training_gallery({"natural-s0.99": {"l2": [history(0), history(4)]}})
    (group,) = gallery.groups
    test, validation = (dict(group.panels[0].charts)[name] for name in ("test", "validation"))
    assert test.series[0].y == (22.0, 42.0, 62.0)
    assert (test.series[0].low, test.series[0].high) == ((20.0, 40.0, 60.0), (24.0, 44.0, 64.0))
    assert validation.series[0].y == (21.0, 40.0, 59.0)
    assert [name for name, _ in group.panels[3].charts] == ["conv1", "dense1"]
    assert group.panels[3].charts[0][1].series[0].y == (50.0, 25.0, pytest.approx(50 / 3))


def test_sweeps_of_the_examination_are_percentages():
    (group,) = sanity_gallery({"trades-s0.95": {"l2": audit()}}).groups
    assert [panel.charts[0][1].series[0].x for panel in group.panels] == [
        (0.0, 8.0, 64.0), (5.0, 10.0, 20.0), (1.0, 2.0, 4.0),
    ]  # fmt: skip
    assert group.panels[0].charts[0][1].series[0].y == (32.0, 14.0, 0.0)


def test_published_points_stand_in_the_article_s_curves():
    runs = [published_run(network) for network in ("ann", "cnn")]
    plots = [published(path) for path in PLOTS]
    groups = curves_gallery(plots, runs).groups
    assert len(groups) == len(plots) == 9
    for plot, group in zip(plots, groups, strict=True):
        for panel, shown in zip(plot.panels, group.panels, strict=True):
            chart = shown.charts[0][1]
            for (column, readings), series in zip(
                panel.readings.items(), chart.series, strict=True
            ):
                assert series.label == ("clean" if column == "none" else column)
                once = [mark for mark in series.marks if not mark.repeat]
                assert [m.y for m in once] == [100 * r.accuracy for r in readings]
                assert [m.x for m in once] == [100 * r.ratio for r in readings]
                again = [mark for mark in series.marks if mark.repeat]
                assert len(again) == len(panel.repeat.get(column, ()))
            assert chart.start == (100 * plot.first_ratio or None)


def finding_of_order(profile: str, *, swap: bool = False):
    rows = [replace(found, profile=profile) for found in results()]
    if swap:
        for found in rows:
            if found.rewire == "l2" and found.objective == "trades":
                found.metrics["structure"]["zero_vectors"]["percent"] = 99.0
    spec = load_spec(CONF / "thesis" / "table" / "thesis_table1.yaml")
    table = build_table(spec, rows, profile=profile, note=NOTE)
    return thesis_findings({"thesis_table1": table}, [], [])[0]


def test_the_order_of_strategies_is_judged_at_full_scale_alone():
    quick, whole = (finding_of_order(profile) for profile in ("quick", COMPARABLE_PROFILE))
    assert "5 of 5 rows" in quick.text
    assert quick.verdict == NOT_JUDGED
    assert (whole.verdict, whole.tone) == (REPRODUCED, "good")
    part = finding_of_order(COMPARABLE_PROFILE, swap=True)
    assert "3 of 5 rows" in part.text
    assert part.verdict == IN_PART
    assert "other order" in part.evidence[2]


def test_headlines_without_data_are_left_out():
    assert thesis_findings({}, [], []) == ()
    spec = load_spec(CONF / "article" / "table" / "article_table1.yaml")
    empty = build_table(spec, [], profile="quick", note=NOTE)
    assert article_findings(empty, ordering([]), score_claims(), ()) == ()


def test_flags_of_an_examination_are_a_headline():
    flagged = audit(flags=[Flag(name="noise", reason="noise fools more")])
    (found,) = thesis_findings({}, [], [audit(), flagged])
    assert "2 networks: 1 reason for doubt" in found.text
    assert (found.verdict, found.tone) == ("flagged", "bad")
    (few,) = thesis_findings({}, [], [audit()])
    assert (few.verdict, few.tone) == ("no flag", "open")
    assert "on 50 images: few" in few.evidence[0]
    (enough,) = thesis_findings({}, [], [audit(images=1000)])
    assert enough.tone == "good"


def test_robust_accuracy_alone_is_behind_its_headline():
    table = view("thesis_table3").table
    (robust,) = (
        f for f in thesis_findings({"thesis_table3": table}, [], []) if "reproduce" in f.text
    )
    assert robust.text.startswith("Does robust accuracy reproduce? 3 numbers stand beside")
    assert robust.evidence == (
        "For example robust (published by PGD-50, 10 restarts), unstructured: 12.0 [7.0, 19.8], "
        "published 40.74, difference -28.7.",
    )


def test_robust_accuracies_that_nobody_examined_are_a_headline_without_verdict():
    table = view("thesis_table3").table
    last = thesis_findings({"thesis_table3": table}, [], [])[-1]
    assert (last.verdict, last.tone, last.anchor) == ("not examined", "open", "sanity")
    examined = thesis_findings({"thesis_table3": table}, [], [audit()])
    assert [f.verdict for f in examined if f.anchor == "sanity"] == ["no flag"]


def test_a_view_names_the_rows_and_columns_of_which_nothing_was_run():
    whole = view("thesis_table2")
    assert (whole.rows_run, whole.columns_run) == ((0, 1, 2, 3, 4), (0, 1, 2))
    assert whole.not_run == ("vector (ours)", "gathered (ours)")
    natural = [r for r in results() if r.objective == "natural" and r.rewire != "l2"]
    spec = whole.table.spec
    some = table_view(spec, natural, profile="quick", note=NOTE, locate=locate)
    assert (some.rows_run, some.columns_run) == ((0, 1, 3), (0, 2))
    assert some.not_run == (
        "95 % TRADES", "about 95 % TRADES, pruned", "structured", "vector (ours)",
        "gathered (ours)",
    )  # fmt: skip
    none = table_view(spec, [], profile="quick", note=NOTE, locate=locate)
    assert (none.rows_run, none.columns_run) == ((), ())


def test_a_number_keeps_the_results_behind_it():
    table = view("thesis_table2")
    for numbers, cells in zip(table.rows, table.table.rows(), strict=True):
        for number, cell in zip(numbers, cells, strict=True):
            assert number.cell == cell
            assert len(number.sources) == cell.n
            for source in number.sources:
                assert source.value == cell.ours == source.accuracy.accuracy
    weighted = table.rows[0][2]
    assert weighted.doubts
    assert replace(weighted, sources=()).doubts == ()
