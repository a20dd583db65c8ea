"""The dagger on robust accuracies that did not stand their examination."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from helpers.toys_results import Toy

from rewire.evaluation.findings import Flag
from rewire.evaluation.statistics import Accuracy
from rewire.reporting.build_table import build_table, write_table
from rewire.reporting.render import to_csv, to_latex, to_markdown
from rewire.reporting.table_spec import parse_spec

WEAK = Flag(name="transfer", reason="images made on another network leave 1.0 % correct")
OTHER = Flag(name="restarts", reason="the last of 2 restarts still fools 9.0 %")


def row(label: str, metric: str) -> dict:
    published = {"random": 40.0, "l2": None}
    return {"label": label, "selector": {}, "metric": metric, "published": published}


SPEC = parse_spec(
    {
        "name": "robust",
        "title": "Accuracy",
        "source": "A. Author",
        "unit": "%",
        "direction": "higher",
        "tolerance": 1.0,
        "columns": {"random": {"header": "unstructured"}, "l2": {"header": "structured"}},
        "rows": [row("clean", "clean.accuracy"), row("attacked", "robust.accuracy")],
    }
)


def result(rewire: str, flags, seed: int = 0, total: int = 1000, **changes) -> Toy:
    counts = Accuracy.counted(400, total)
    metrics = {"clean": counts, "robust": counts}
    return Toy(**{"rewire": rewire, "seed": seed, "metrics": metrics, "flags": flags} | changes)


def table(*results):
    return build_table(SPEC, results, profile="paper", note="")


def test_reasons_stand_on_the_robust_cell_alone():
    cells = table(result("random", [WEAK, OTHER]), result("l2", [])).cells
    assert [cell.flags for cell in cells] == [(), (), (WEAK.reason, OTHER.reason), ()]


def test_a_dagger_behind_the_number_and_every_reason_once_below():
    found = table(result("random", [WEAK]), result("l2", [WEAK]))
    lines = to_markdown(found).splitlines()
    clean, robust = lines[6:8]
    assert "†" not in clean
    assert robust.count("40.0† [") + robust.count("40.00† [") == 2
    below = [line for line in lines if line.startswith("- †")]
    assert below == [
        "- † images made on another network leave 1.0 % correct "
        "(attacked, unstructured; attacked, structured)."
    ]
    latex = to_latex(found)
    assert latex.count(r"$^{\dagger}$ [") == 2
    assert latex.count(r"$\dagger$ images made on another network leave 1.0 \% correct") == 1
    assert "†" not in latex


def test_what_was_not_examined_is_said_once_and_is_null(tmp_path):
    found = table(result("random", None), result("l2", []))
    text = to_markdown(found)
    assert "- Not audited: attacked, unstructured.\n" in text
    assert "†" not in text
    paths = write_table(found, tmp_path)
    cells = json.loads(paths[-1].read_text())["cells"]
    assert [cell["flags"] for cell in cells] == [[], [], None, []]
    # A cell that was not run cannot have been examined, and its text says "not run" already.
    assert "Not audited" not in to_markdown(table())


def test_several_seeds_are_named_and_a_missing_examination_never_hides_a_reason():
    both = table(result("l2", [OTHER], seed=1), result("l2", [WEAK], seed=0))
    assert both.cells[3].flags == (f"seed 0: {WEAK.reason}", f"seed 1: {OTHER.reason}")
    partly = table(result("l2", [OTHER], seed=1), result("l2", None, seed=0))
    assert partly.cells[3].flags == (f"seed 1: {OTHER.reason}",)
    assert table(result("l2", [], seed=1), result("l2", None)).cells[3].flags is None
    assert table(result("l2", [], seed=1), result("l2", [])).cells[3].flags == ()


@pytest.mark.parametrize(
    ("flags", "text"),
    [([], "none"), (None, "not audited"), ([WEAK, OTHER], f"{WEAK.reason}; {OTHER.reason}")],
)
def test_csv_has_a_column_of_reasons(flags, text):
    rows = list(csv.DictReader(io.StringIO(to_csv(table(result("random", flags))))))
    assert [line["flags"] for line in rows] == ["n/a", "n/a", text, "n/a"]
    assert rows[2]["ours"] == "40"


def test_a_number_of_an_old_network_is_left_out_and_its_command_named():
    command = "rewire thesis evaluate profile=paper seed=0"
    stale = result("random", None, metrics={}, outdated={"robust": command})
    table = build_table(SPEC, [stale, result("l2", [])], profile="paper", note="Paper profile.")
    cells = {(cell.row, cell.column): cell for cell in table.cells}
    cell = cells["attacked", "unstructured"]
    assert (cell.ours, cell.verdict, cell.outdated) == (None, "outdated", (command,))
    assert cells["clean", "unstructured"].verdict == "not run"
    text = to_markdown(table)
    assert f"| outdated: run `{command}` (published 40) |" in text
    assert "- Outdated, hence left out: results of other networks" in text
    (line,) = (row for row in csv.DictReader(io.StringIO(to_csv(table)))
               if (row["row"], row["column"]) == ("attacked", "unstructured"))  # fmt: skip
    assert (line["ours"], line["verdict"]) == ("outdated", "outdated")
    assert "outdated" in to_latex(table)


def test_an_examination_of_few_images_is_said():
    few = [result("random", [], examined=50), result("l2", [], examined=300)]
    text = to_markdown(build_table(SPEC, few, profile="paper", note="Paper profile."))
    assert "- Sanity checks looked at 50 images only: attacked, unstructured." in text
    assert "300 images" not in text


def test_an_attack_on_fewer_images_than_the_published_one_is_said():
    few = [result("random", [], total=1000), result("l2", [], total=10_000)]
    found = table(*few)
    assert "- Attacked on 1,000 images only: attacked, unstructured." in to_markdown(found)
    assert [cell.attacked for cell in found.cells] == [None, None, 1000, 10_000]
    # Of every other profile the note on top says it.
    quick = [replace(one, profile="quick") for one in few]
    assert "only" not in to_markdown(build_table(SPEC, quick, profile="quick", note="Quick."))
