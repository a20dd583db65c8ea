"""Pairs of strategies as rows, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from rewire.errors import InputError
from rewire.evaluation.paired import hierarchical_bootstrap, holm, mcnemar
from rewire.thesis.report.paired_rows import COLUMNS, Comparison, Row, paired_rows
from rewire.thesis.report.paired_table import paired_csv, paired_markdown, write_paired_table

NOTE = "Quick profile: few images. Not comparable with the published numbers."


def comparison(*counts: tuple[int, int], images: int = 10_000, **changes) -> Comparison:
    """One seed per (images that only the strategy, only the baseline gets right); both: half."""
    correct = np.zeros((len(counts), images), bool)
    correct[:, images // 2 :] = True
    baseline = correct.copy()
    for seed, (ours, theirs) in enumerate(counts):
        correct[seed, :ours] = True
        baseline[seed, ours : ours + theirs] = True
    fields = {
        "cell": "natural-s0.99",
        "variant": "trained",
        "measure": "clean",
        "strategy": "l2",
        "baseline": "random",
        "seeds": range(len(counts)),
        "correct": correct,
        "baseline_correct": baseline,
    }
    return Comparison(**fields | changes)


def test_a_row_of_one_seed_is_mcnemar_and_the_bootstrap_over_images():
    one = comparison((300, 200))
    (row,) = paired_rows([one])
    test = mcnemar(one.correct[0], one.baseline_correct[0])
    interval = hierarchical_bootstrap(one.correct, one.baseline_correct, seed=0)
    assert row.difference == 1.0
    assert (row.only_strategy, row.only_baseline) == (300, 200)
    assert (row.test, row.p, row.p_holm) == ("McNemar", test.p, test.p)
    assert (row.ci95_low, row.ci95_high) == interval.ci95
    assert (row.ci90_low, row.ci90_high) == interval.ci90
    assert (row.interval, row.images, row.seeds) == ("images", 10_000, 1)
    assert row.verdict == "different"


def test_a_row_of_several_seeds_keeps_mcnemar_to_single_seeds():
    several = comparison((300, 200), (250, 260), (280, 220), seeds=[0, 1, 4])
    (row,) = paired_rows([several])
    interval = hierarchical_bootstrap(several.correct, several.baseline_correct, seed=0)
    assert (row.test, row.p) == ("bootstrap", interval.p)
    assert (row.interval, row.seeds) == ("seeds and images", 3)
    assert (row.only_strategy, row.only_baseline) == (830, 680)
    assert row.difference == pytest.approx(0.5)
    assert [each.seed for each in row.per_seed] == [0, 1, 4]
    assert [each.difference for each in row.per_seed] == pytest.approx([1.0, -0.1, 0.6])
    second = mcnemar(several.correct[1], several.baseline_correct[1])
    assert row.per_seed[1].mcnemar_p == second.p
    # Pooled over seeds, the test would claim far more than the seeds show.
    pooled = mcnemar(several.correct.ravel(), several.baseline_correct.ravel())
    assert pooled.p < 0.001 < 0.05 < row.p


def test_p_values_are_corrected_for_all_rows_of_the_table():
    rows = paired_rows([comparison((20, 8)), comparison((60, 20)), comparison((5, 5))])
    p = [row.p for row in rows]
    assert [row.p_holm for row in rows] == holm(p)
    assert rows[0].p < 0.05 < rows[0].p_holm


def test_networks_that_an_attack_leaves_nothing_of_are_not_compared():
    right = np.zeros((4, 1, 10_000), bool)
    for network, count in zip(right, (0, 1, 49, 50), strict=True):
        network[0, :count] = True
    rows = paired_rows(
        [
            comparison((20, 8)),
            comparison((60, 20)),
            *(
                comparison((0, 0), measure="robust", correct=ours, baseline_correct=theirs)
                for ours, theirs in (right[:2], (right[2], right[0]), (right[3], right[0]))
            ),
        ]
    )
    verdicts = [row.verdict for row in rows]
    assert verdicts[2:] == ["neither above 0.5 %"] * 2 + ["different"]
    assert [row.difference for row in rows[2:]] == [None, None, 0.5]
    tested = [row for row in rows if row.p is not None]
    assert [row.p_holm for row in tested] == holm([row.p for row in tested])
    assert len(tested) == 3
    text = paired_markdown(rows, note=NOTE)
    assert text.count("| neither above 0.5 % |") == 2
    assert "Neither above 0.5 %: no network of either strategy is right on so many" in text
    assert "At chance" not in text
    assert "corrected for all 3 comparisons" in text


def test_a_row_does_not_depend_on_the_others():
    alone = paired_rows([comparison((300, 200))])[0]
    among = paired_rows([comparison((10, 30)), comparison((300, 200))])[1]
    assert alone.model_copy(update={"p_holm": None}) == among.model_copy(update={"p_holm": None})


def test_seeds_and_arrays_that_do_not_fit():
    with pytest.raises(InputError, match=r"seeds \[0\] for 2 rows"):
        paired_rows([comparison((1, 2), (2, 1), seeds=[0])])


def test_markdown_says_what_a_row_holds():
    rows = paired_rows(
        [
            comparison((300, 200)),
            comparison((3, 1), images=100, measure="robust"),
            comparison((40, 41), (38, 40), variant="pruned"),
        ]
    )
    lines = paired_markdown(rows, note=f"{NOTE}\n").splitlines()
    assert lines[0] == "# Rewiring strategies compared image by image"
    assert lines[2] == f"**{NOTE}**"
    header, first, second, third = (
        [cell.strip() for cell in lines[i].strip("|").split("|")] for i in (4, 6, 7, 8)
    )
    assert header[3:5] == ["pair", "difference [95 %], points"]
    assert first[:4] == ["natural-s0.99", "trained", "clean", "l2 - random"]
    assert first[4].startswith("+1.00 [+0.5")
    assert first[5:] == ["images", "10,000", "1", "300 : 200", "< 0.001 (McNemar)", "< 0.001",
                         "different"]  # fmt: skip
    assert second[4].startswith("+2.0 [-2.")  # two decimals would claim too much
    assert second[-1] == "undecided"
    assert third[5:9] == ["seeds and images", "10,000", "2", "78 : 81"]
    assert third[9].endswith("(bootstrap)")
    assert third[-1] == "equivalent within 0.5 points"
    text = "\n".join(lines)
    assert "One seed: McNemar" in text
    assert "Several seeds: p-value of the bootstrap" in text
    assert "all 3 comparisons" in text
    only = paired_markdown(paired_rows([comparison((1, 1))]), note=NOTE)
    assert "Several seeds" not in only


def test_a_table_without_a_pair_says_so(tmp_path):
    text = paired_markdown([], note=NOTE)
    assert "No pair" in text
    assert NOTE in text
    paths = write_paired_table([], tmp_path, profile="quick", note=NOTE)
    assert paths[0].read_text() == text
    assert paths[1].read_text() == ",".join(COLUMNS) + "\n"
    assert json.loads(paths[2].read_text())["rows"] == []


def test_files_hold_the_rows(tmp_path):
    rows = paired_rows([comparison((300, 200)), comparison((4, 4), images=100)])
    paths = write_paired_table(rows, tmp_path, profile="quick", note=NOTE)
    assert [path.name for path in paths] == [
        f"thesis_paired.{suffix}" for suffix in ("md", "csv", "json")
    ]
    stored = json.loads(paths[2].read_text())
    assert (stored["table"], stored["profile"], stored["margin"]) == ("thesis_paired", "quick", 0.5)
    assert [Row.of(row, file=str(paths[2])) for row in stored["rows"]] == rows
    read = list(csv.DictReader(paths[1].open()))
    assert [row["verdict"] for row in read] == [row.verdict for row in rows]
    assert float(read[0]["ci95_low"]) == pytest.approx(rows[0].ci95_low, rel=1e-5)
    assert read[0]["difference"] == "1"
    assert paired_csv(rows) == paths[1].read_text()
