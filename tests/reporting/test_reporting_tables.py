"""Filled tables: values, intervals, verdicts and their text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.toys_results import Toy
from scipy import stats

from rewire.errors import InputError
from rewire.evaluation.statistics import Accuracy
from rewire.reporting.build_table import build_table, write_table
from rewire.reporting.render import decimals, escape_latex, to_csv, to_latex, to_markdown
from rewire.reporting.table import Cell
from rewire.reporting.table_spec import parse_spec

QUICK = "Quick profile: few images, few epochs. Not comparable with the published numbers."

RAW = {
    "name": "small",
    "title": "Accuracy & more",
    "source": "A. Author, Table_1",
    "unit": "%",
    "direction": "higher",
    "tolerance": 1.0,
    "columns": {"random": {"header": "unstructured"}, "vector": {"header": "vector (ours)"}},
    "rows": [
        {
            "label": "99 % natural",
            "selector": {"sparsity": 0.99, "objective": "natural", "variant": "trained"},
            "metric": "clean.accuracy",
            "published": {"random": 84.9, "vector": None},
        },
        {
            "label": "zero vectors",
            "selector": {"sparsity": 0.99, "objective": "natural", "variant": "trained"},
            "metric": "structure.zero_vectors.percent",
            "published": {"random": 2.066, "vector": None},
        },
    ],
}
SPEC = parse_spec(RAW)


def result(rewire: str = "random", seed: int = 0, *, correct: int = 8500, **changes) -> Toy:
    metrics = {
        "clean": Accuracy.counted(correct, 10_000),
        "structure": {"zero_vectors": {"percent": 2.0 + seed}},
    }
    return Toy(**{"rewire": rewire, "seed": seed, "metrics": metrics} | changes)


def build(results, *, profile: str = "paper", note: str = ""):
    return build_table(SPEC, results, profile=profile, note=note)


def test_three_seeds_give_the_mean_and_the_student_interval() -> None:
    values = [84.0, 85.0, 86.5]
    results = [result(seed=i, correct=round(100 * value)) for i, value in enumerate(values)]
    cell = build(results).cells[0]
    mean, error = sum(values) / 3, stats.sem(values)
    assert cell.ours == pytest.approx(mean)
    assert cell.ci95 == pytest.approx(stats.t.interval(0.95, 2, loc=mean, scale=error))
    assert (cell.n, cell.interval, cell.verdict) == (3, "seeds", "within tolerance")
    assert cell.difference == pytest.approx(mean - 84.9)


@pytest.mark.parametrize("unit", ["%", "ms"])
def test_the_interval_of_a_share_ends_at_what_can_be(unit) -> None:
    results = [result(seed=i, correct=c) for i, c in enumerate((4000, 5300))]
    spec = replace(SPEC, unit=unit)
    cell = build_table(spec, results, profile="paper", note="").cells[0]
    low, high = stats.t.interval(0.95, 1, loc=46.5, scale=6.5)
    assert (low, high) == pytest.approx((-36.1, 129.1), abs=0.1)
    assert cell.ci95 == ((0.0, 100.0) if unit == "%" else pytest.approx((low, high)))


def test_one_seed_of_an_accuracy_has_the_wilson_interval_over_images() -> None:
    cell = build([result(correct=8490)]).cells[0]
    wilson = stats.binomtest(8490, 10_000).proportion_ci(method="wilson")
    assert cell.ours == pytest.approx(84.9)
    assert cell.ci95 == pytest.approx((100 * wilson.low, 100 * wilson.high))
    assert (cell.n, cell.interval) == (1, "images")


def test_one_seed_of_anything_else_has_no_interval() -> None:
    cell = build([result()]).cells[2]
    assert (cell.ours, cell.n, cell.ci95, cell.interval) == (2.0, 1, None, None)


def test_seeds_that_agree_to_the_last_digit_make_nothing_certain() -> None:
    same = result(correct=0)
    table = build([same, replace(same, seed=1)])
    accuracy, _, vectors, _ = table.cells
    wilson = stats.binomtest(0, 10_000).proportion_ci(method="wilson")
    assert accuracy.ci95 == pytest.approx((0, 100 * wilson.high))
    assert (accuracy.ours, accuracy.n, accuracy.interval) == (0, 2, "images")
    assert (vectors.ours, vectors.n, vectors.ci95, vectors.interval) == (2.0, 2, None, None)
    said = "Intervals of one seed, or of seeds that agree to the last digit, are Wilson"
    assert said in to_markdown(table)
    assert "seeds that agree" not in to_markdown(build([result(correct=0)]))


@pytest.mark.parametrize(
    ("correct", "profile", "verdict"),
    [
        (8490, "paper", "within tolerance"),
        (8390, "paper", "within tolerance"),
        (8590, "paper", "within tolerance"),
        (8389, "paper", "differs"),
        (8591, "paper", "differs"),
        (8490, "quick", "not comparable"),
        (100, "quick", "not comparable"),
    ],
)
def test_verdicts_against_a_published_value(correct: int, profile: str, verdict: str) -> None:
    cell = build([result(correct=correct, profile=profile)], profile=profile).cells[0]
    assert cell.verdict == verdict


@pytest.mark.parametrize("profile", ["paper", "quick"])
def test_verdicts_without_a_published_value_or_a_run(profile: str) -> None:
    ran, missing = build([result("vector", profile=profile)], profile=profile).cells[1::-1]
    assert (ran.column, ran.ours, ran.verdict) == ("vector (ours)", 85.0, "no published value")
    assert (missing.ours, missing.ci95, missing.n, missing.difference) == (None, None, 0, None)
    assert (missing.published, missing.verdict) == (84.9, "not run")


def test_only_matching_results_of_the_profile_count() -> None:
    others = [
        result(seed=1, profile="quick"),
        result(seed=2, sparsity=0.95),
        result(seed=3, objective="trades"),
        result(seed=4, variant="pruned"),
        result("l2", seed=5),
        result(seed=6, metrics={}),
        result(seed=7, metrics={"clean": None, "structure": {"zero_vectors": {}}}),
    ]
    cells = build([result(sparsity=1 - 0.01), *others]).cells
    assert [cell.n for cell in cells] == [1, 0, 1, 0]


def test_a_number_in_a_path_indexes_a_list() -> None:
    rows = [{**RAW["rows"][0], "metric": "structure.layers.1.percent"}]
    metrics = {"structure": {"layers": [{"percent": 1.0}, {"percent": 7.0}]}}
    results = [result(metrics=metrics), result(seed=1, metrics={"structure": {"layers": []}})]
    table = build_table(parse_spec({**RAW, "rows": rows}), results, profile="paper", note="")
    assert (table.cells[0].ours, table.cells[0].n) == (7.0, 1)


def test_two_results_of_one_seed_are_refused_not_averaged() -> None:
    with pytest.raises(InputError, match=r"row '99 % natural'.*seeds \[0, 0\].*not distinct"):
        build([result(), result(correct=9000)])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "2.0", True])
def test_a_metric_that_is_no_finite_number_is_refused(value) -> None:
    metrics = {"structure": {"zero_vectors": {"percent": value}}}
    with pytest.raises(InputError, match=r"zero_vectors\.percent is"):
        build([result(metrics=metrics)])


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (11, 10), (-1, 10)])
def test_impossible_counts_are_refused(correct: int, total: int) -> None:
    metrics = {"clean": Accuracy(correct=correct, total=total, accuracy=0.5)}
    with pytest.raises(InputError, match=f"'99 % natural'.*{correct} of {total} images"):
        build([result(metrics=metrics)])


def test_accuracies_come_from_counts_whatever_unit_the_stored_share_has() -> None:
    metrics = {"clean": Accuracy(correct=1, total=8, accuracy=0.125)}
    percent = {"clean": Accuracy(correct=1, total=8, accuracy=12.5)}
    assert build([result(metrics=metrics)]).cells == build([result(metrics=percent)]).cells
    assert build([result(metrics=metrics)]).cells[0].ours == 12.5


def test_golden_markdown() -> None:
    results = [result(seed=seed, correct=8480 + 10 * seed) for seed in range(3)]
    assert (
        to_markdown(build(results))
        == """\
# Accuracy & more

**Profile: paper.**

| %            | unstructured                                   | vector (ours)                |
|--------------|------------------------------------------------|------------------------------|
| 99 % natural | 84.90 [84.65, 85.15] (published 84.9, +0.00) ✓ | not run (no published value) |
| zero vectors | 3.0 [0.5, 5.5] (published 2.066, +0.9) ✓       | not run (no published value) |

How to read it:

- A cell is ours [95 % interval] (published, ours - published), in %; higher is better.
- Ours is the mean over n = 3 seeds.
- Intervals of two or more seeds are Student-t over seeds.
- Not run: there is no result of this profile.
- ✓ within 1 point of the published value, ✗ differs by more.
- Published values: A. Author, Table_1.
"""
    )


def test_markdown_of_the_quick_profile_says_so_under_the_title_and_judges_nothing() -> None:
    results = [result(profile="quick"), result("vector", profile="quick")]
    for note in (QUICK, f"**{QUICK}**"):
        lines = to_markdown(build(results, profile="quick", note=note)).splitlines()
        assert lines[0] == "# Accuracy & more"
        assert lines[2] == f"**{QUICK}**"
        assert not any(mark in line for line in lines for mark in "✓✗")
        assert "85.00 [84.29, 85.69] (published 84.9, +0.10) " in lines[6]


def test_markdown_prints_n_in_the_cell_where_it_varies() -> None:
    text = to_markdown(build([result(), result(seed=1), result("vector")]))
    assert "(published 84.9, +0.10, n=2) ✓" in text
    assert "(no published value, n=1)" in text
    assert "Ours is the mean over n = 1 to 2 seeds." in text


def test_golden_csv() -> None:
    text = to_csv(build([result(correct=8390)]))
    assert text.splitlines() == [
        "row,column,ours,ci95_low,ci95_high,interval,n,"
        "published,difference,verdict,unit,profile,flags",
        "99 % natural,unstructured,83.9,83.1667,84.6073,images,1,"
        "84.9,-1,within tolerance,%,paper,n/a",
        "99 % natural,vector (ours),not run,n/a,n/a,n/a,0,n/a,n/a,not run,%,paper,n/a",
        "zero vectors,unstructured,2,n/a,n/a,n/a,1,2.066,-0.066,within tolerance,%,paper,n/a",
        "zero vectors,vector (ours),not run,n/a,n/a,n/a,0,n/a,n/a,not run,%,paper,n/a",
    ]


def test_golden_latex() -> None:
    results = [result(seed=seed, correct=8280 + 10 * seed) for seed in range(3)]
    note = "100 % of 50_000 images"
    assert (
        to_latex(build(results, note=note))
        == r"""\begin{table}[t]
  \centering
  \small
  \caption{Accuracy \& more. \textbf{100 \% of 50\_000 images}}
  \label{tab:small}
  \begin{tabular}{lrr}
    \toprule
    \% & unstructured & vector (ours) \\
    \midrule
    {}99 \% natural & 82.90 [82.65, 83.15]$^{*}$ & not run \\
     & {\footnotesize (84.9, $-2.00$)} & {\footnotesize (--)} \\
    {}zero vectors & 3.0 [0.5, 5.5] & not run \\
     & {\footnotesize (2.066, $+0.9$)} & {\footnotesize (--)} \\
    \bottomrule
  \end{tabular}
  \par\medskip
"""
        + (
            r"  {\footnotesize A cell is ours [95 \% interval] "
            r"below (published, ours - published), "
            r"in \%; higher is better. Ours is the mean over n = 3 seeds. Intervals of two or more "
            r"seeds are Student-t over seeds. Not run: there is no result of this profile. "
            r"* differs from the published value by more than 1 point. "
            "Published values: A. Author, Table\\_1.\\par}\n\\end{table}\n"
        )
    )


def test_latex_escapes_every_special_character_once() -> None:
    specials = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
    specials |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    specials |= {"\\": r"\textbackslash{}", "ε": r"$\epsilon$", "±": r"$\pm$"}
    for character, escaped in specials.items():
        assert escape_latex(f"a{character}b") == f"a{escaped}b"
    assert escape_latex("".join(specials)) == "".join(specials.values())
    assert escape_latex("plain (text), 1.5 [x]") == "plain (text), 1.5 [x]"


@pytest.mark.parametrize(
    ("ours", "ci95", "digits"),
    [
        (84.9, None, 2),
        (84.9, (84.0, 85.8), 2),
        (84.9, (83.9, 85.9), 1),
        (0.018, None, 3),
        (0.0, None, 2),
        (None, None, 2),
    ],
)
def test_digits_follow_the_interval_and_the_size(ours, ci95, digits: int) -> None:
    cell = Cell("row", "column", ours, None, 1, ci95, "differs", None, None)
    assert decimals(cell) == digits


def test_the_order_of_results_changes_no_byte(tmp_path: Path) -> None:
    results = [result(name, seed) for name in ("random", "vector") for seed in range(3)]
    for folder, given in (("a", results), ("b", results[::-1])):
        write_table(build(given, note=QUICK), tmp_path / folder)
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert len(list((tmp_path / "a").iterdir())) == 4


def test_a_point_in_a_table_s_name_is_part_of_it(tmp_path: Path) -> None:
    table = build([result("random", 0)], note=QUICK)
    named = replace(table, spec=replace(table.spec, name="table_0.99"))
    assert [path.name for path in write_table(named, tmp_path)] == [
        f"table_0.99{suffix}" for suffix in (".md", ".csv", ".tex", ".json")
    ]
    assert len(list(tmp_path.iterdir())) == 4
