"""The article's table: which results fill it, at which ratios, and the order of the methods."""

from __future__ import annotations

import json
import statistics

import pytest
from helpers.toys_article import COLUMNS, CONF, EIGHT, QUICK, point, rows, run
from scipy import stats

from rewire.article.collected import read_curves
from rewire.article.report.best_performance import (
    Ordering,
    matched_points,
    ordering,
    ordering_markdown,
    table1_results,
)
from rewire.article.report.runs import Run
from rewire.errors import InputError
from rewire.pipeline.run_cell import as_csv
from rewire.reporting.build_table import build_table, write_table
from rewire.reporting.render import to_markdown
from rewire.reporting.table_spec import load_spec, parse_spec

SPEC = load_spec(CONF / "table" / "article_table1.yaml")
# One accuracy per column: none, 3/.25, 2/.25, 1/.15, 5/.1, 5/.15, 5/.35, 8/.2, 7/.3, 9/.2.
NONE = [0.9865, 0.1993, 0.2764, 0.9073, 0.959, 0.856, 0.2595, 0.579, 0.2263, 0.5818]
ABSOLUTE = [0.9818, 0.411, 0.3624, 0.8814, 0.9686, 0.92, 0.5395, 0.9081, 0.2379, 0.7646]
ACTIVATED = [0.9814, 0.4868, 0.5708, 0.9163, 0.9669, 0.93, 0.5732, 0.9156, 0.2969, 0.7841]
COMBINED = [0.9801, 0.5111, 0.5035, 0.8971, 0.9657, 0.92, 0.5809, 0.9241, 0.2862, 0.8017]
ARTICLE = {"none": NONE, "absolute": ABSOLUTE, "activated": ACTIVATED, "combined": COMBINED}


def article_run(shift: float = 0.0, **fields) -> Run:
    """The article's table as a result, all noisy accuracies moved by `shift`."""
    points = [
        point(name, [values[0], *(v + shift for v in values[1:])], evaluation=evaluation)
        for name, values in ARTICLE.items()
        for evaluation in ("E1", "E2")
    ]
    return run(points=points, **fields)


def cells(results: list, *, profile: str = "paper") -> dict:
    table = build_table(SPEC, results, profile=profile, note=QUICK)
    return {(cell.row, cell.column): cell for cell in table.cells}


def test_the_article_s_own_numbers_reproduce_its_table() -> None:
    found = cells(table1_results([article_run(), article_run(head="rq")]))
    judged = [cell for cell in found.values() if cell.published is not None]
    assert len(judged) == 8 * 10
    assert {cell.verdict for cell in judged} == {"within tolerance"}
    assert max(abs(cell.difference) for cell in judged) < 0.0051
    assert found["No pruning, LQ", "None"].ours == pytest.approx(98.65)
    assert found["Activated 81 %, RQ (as run)", "mean of 8"].ours == pytest.approx(68.88, abs=0.01)
    assert found["No pruning, LQ, clipped", "8/.2"].ours == pytest.approx(57.9)
    assert found["Absolute, matched clean accuracy, LQ", "None"].verdict == "not run"


def test_the_table_is_written_in_all_formats(tmp_path) -> None:
    results = table1_results([article_run(profile="quick")])
    table = build_table(SPEC, results, profile="quick", note=QUICK)
    written = {path.suffix: path.read_text("utf-8") for path in write_table(table, tmp_path)}
    assert set(written) == {".md", ".csv", ".tex", ".json"}
    assert f"**{QUICK}**" in written[".md"]
    assert QUICK in written[".tex"]
    content = json.loads(written[".json"])
    assert len(content["cells"]) == 15 * 10
    assert not {cell["verdict"] for cell in content["cells"]} & {"within tolerance", "differs"}


def test_one_draw_has_a_wilson_interval_and_several_draws_are_averaged() -> None:
    draws = [[0.98] + [value] * 9 for value in (0.50, 0.52, 0.57)]
    points = [point("none", NONE)]
    points += [point("activated", values, draw=draw) for draw, values in enumerate(draws)]
    found = cells(table1_results([run(points=points)]))
    cell = found["No pruning, LQ", "3/.25"]
    expected = stats.binomtest(1993, 10_000).proportion_ci(method="wilson")
    assert cell.interval == "images"
    assert cell.ci95 == pytest.approx((100 * expected.low, 100 * expected.high))
    cell = found["Activated 81 %, LQ", "3/.25"]
    assert cell.ours == pytest.approx(53.0)
    assert (cell.interval, cell.ci95, cell.n) == (None, None, 1)
    assert found["No pruning, LQ", "mean of 8"].interval is None


def test_seeds_get_a_student_interval_of_the_means_over_draws() -> None:
    values = {0: (0.50, 0.54), 1: (0.55, 0.57), 2: (0.60, 0.60)}
    runs = [
        run(
            points=[
                point("activated", [0.98] + [value] * 9, draw=draw)
                for draw, value in enumerate(draws)
            ],
            seed=seed,
        )
        for seed, draws in values.items()
    ]
    for column in ("3/.25", "mean of 8"):
        cell = cells(table1_results(runs))["Activated 81 %, LQ", column]
        means = [100 * statistics.mean(draws) for draws in values.values()]
        half = stats.t.ppf(0.975, 2) * stats.sem(means)
        assert (cell.n, cell.interval) == (3, "seeds")
        assert cell.ours == pytest.approx(statistics.mean(means))
        assert cell.ci95 == pytest.approx((cell.ours - half, cell.ours + half))


def test_the_mean_is_over_the_article_s_eight_and_absent_without_one_of_them() -> None:
    accuracies = [0.99, *(value / 10 for value in range(1, 10))]
    found = cells(table1_results([run(points=[point("none", accuracies)])]))
    # Columns 1 to 9, without the fifth, 5/.15.
    assert found["No pruning, LQ", "mean of 8"].ours == pytest.approx(10 * (45 - 5) / 8)
    short = run(points=[point("none", accuracies[:-1])], columns=COLUMNS["ann"][:-1])
    found = cells(table1_results([short]))
    assert found["No pruning, LQ", "mean of 8"].verdict == "not run"
    assert found["No pruning, LQ", "9/.2"].verdict == "not run"
    assert found["No pruning, LQ", "8/.2"].ours == pytest.approx(70)


def matched_run(**fields) -> Run:
    """Two draws of a curve whose held-out accuracy ends at different ratios."""
    curves = []
    held_out = [
        {0.0: 0.9900, 0.5: 0.9860, 0.8: 0.9836, 0.9: 0.9800},  # 0.8 loses 0.64 points
        {0.0: 0.9900, 0.5: 0.9834, 0.8: 0.9800, 0.9: 0.9700},  # 0.5 loses 0.66 points
    ]
    for draw, line in enumerate(held_out):
        test = {column: {r: 0.3 + r / 2 for r in line} for column in EIGHT["ann"]}
        test["none"] = {r: 0.98 - r / 100 for r in line}
        curves += rows("activated", test, draw=draw)
        curves += rows("activated", {"validation": line}, draw=draw)
    return run(points=[point("none", NONE, validation=0.99)], curves=curves, **fields)


def test_matched_ratios_are_chosen_on_held_out_images_by_every_draw() -> None:
    points = matched_points(matched_run(), "activated")
    assert [(p.draw, p.ratio) for p in points] == [(0, 0.8), (1, 0.0)]
    assert points[0].counts["3/.25"] == (7000, 10_000)
    assert points[0].validation == (9836, 10_000)
    results = table1_results([matched_run()])
    cell = cells(results)["Activated, matched clean accuracy, LQ", "3/.25"]
    assert cell.ours == pytest.approx(100 * (0.7 + 0.3) / 2)
    assert cell.verdict == "no published value"
    assert matched_points(matched_run(), "absolute") == []


def test_other_networks_and_profiles() -> None:
    cnn = run(network="cnn", points=[point("none", [0.99] + [0.5] * 9)])
    assert table1_results([cnn]) == []
    quick = cells(table1_results([article_run(profile="quick")]), profile="quick")
    verdicts = {cell.verdict for cell in quick.values() if cell.published is not None}
    assert verdicts == {"not comparable", "not run"}
    with pytest.raises(InputError, match="one at a time"):
        table1_results([article_run(), article_run(seed=1, profile="quick")])
    with pytest.raises(InputError, match="more than one result"):
        table1_results([article_run(), article_run()])


def test_curves_are_read_as_they_were_written(tmp_path) -> None:
    written = rows("absolute", {"none": {0.0: 0.98, 0.8: 0.975}}, draw=1)
    (tmp_path / "curves.csv").write_text(as_csv([row.as_json() for row in written]))
    assert read_curves(tmp_path / "curves.csv") == written


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "missing or damaged"),
        ("curve,draw\nabsolute,0\n", "ratio: Field required"),
        ("curve,draw,ratio\nabsolute,0,half\n", "ratio: Input should be a valid number"),
    ],
)
def test_damaged_curves_are_named(text, says, tmp_path) -> None:
    path = tmp_path / "curves.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=rf"curves\.csv' is .*{says}"):
        read_curves(path)


def test_impossible_counts_are_refused() -> None:
    accuracies = [1.0001, *NONE[1:]]
    with pytest.raises(InputError, match=r"10001.* impossible"):
        table1_results([run(points=[point("none", accuracies)])])
    with pytest.raises(InputError, match=r"10001.* impossible"):
        table1_results([run(curves=rows("absolute", {"validation": {0.0: 1.0001}}))])


def ordered(values: list[tuple[float, float, float]]) -> Ordering:
    """`ordering` of one seed per triple (none, absolute, activated) of mean accuracies."""
    runs = [
        run(
            points=[
                point(name, [0.98] + [value] * 9)
                for name, value in zip(ARTICLE, (*triple, 0.7), strict=True)
            ],
            seed=seed,
        )
        for seed, triple in enumerate(values)
    ]
    return ordering(runs)


def test_ordering_of_one_seed_is_undecided_with_numbers() -> None:
    found = ordering([article_run()])
    assert found.verdict == "undecided"
    assert (found.seeds, found.profile) == ([0], "paper")
    assert found.means["none"] == [pytest.approx(49.86, abs=0.01)]
    difference = found.differences["activated - absolute"]
    assert difference.mean == pytest.approx(68.88 - 63.42, abs=0.01)
    assert (difference.low, difference.n) == (None, 1)
    assert "one seed" in ordering_markdown(found, note=QUICK)


def test_ordering_pairs_seeds() -> None:
    values = [(0.40, 0.50, 0.53), (0.50, 0.61, 0.65), (0.30, 0.42, 0.44)]
    found = ordered(values)
    assert found.verdict == "confirmed"
    expected = stats.ttest_rel([50, 61, 42], [40, 50, 30]).confidence_interval(0.95)
    difference = found.differences["absolute - none"]
    assert (difference.low, difference.high) == pytest.approx(tuple(expected))
    assert difference.per_seed == pytest.approx([10, 11, 12])
    json.dumps(found.as_json())
    text = ordering_markdown(found, note=QUICK)
    assert QUICK in text
    assert "none < absolute < activated: **confirmed**" in text
    assert f"[{expected.low:+.2f}, {expected.high:+.2f}]" in text


@pytest.mark.parametrize(
    ("activated", "verdict"),
    [((0.53, 0.47, 0.52), "undecided"), ((0.45, 0.44, 0.46), "refuted")],
)
def test_ordering_may_fail(activated, verdict: str) -> None:
    values = [(0.40, 0.50 + i / 100, value) for i, value in enumerate(activated)]
    assert ordered(values).verdict == verdict


def test_ordering_without_results() -> None:
    found = ordering([article_run()], head="rq")
    assert (found.verdict, found.seeds) == ("undecided", [])
    assert "not run" in ordering_markdown(found, note=QUICK)


def test_a_column_may_have_its_own_tolerance() -> None:
    # 0.6 points off: too much for clean accuracy, little for a noisy one.
    shifted = run(points=[point("none", [NONE[0] - 0.006, NONE[1] - 0.006, *NONE[2:]])])
    found = cells(table1_results([shifted]))
    assert found["No pruning, LQ", "None"].verdict == "differs"
    assert found["No pruning, LQ", "3/.25"].verdict == "within tolerance"
    results = table1_results([shifted])
    text = to_markdown(build_table(SPEC, results, profile="paper", note="Paper profile."))
    assert "✓ within 4 points (None: 0.5 points) of the published value" in text
    raw = {"header": "None", "tolerance": -1}
    content = {
        "name": "t", "title": "t", "source": "s", "unit": "%", "direction": "higher",
        "tolerance": 1, "columns": {"none": raw}, "rows": [],
    }  # fmt: skip
    with pytest.raises(InputError, match="column 'none': tolerance is -1"):
        parse_spec(content)
