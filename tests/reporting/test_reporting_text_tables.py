"""The summary that ends a sweep."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from rewire.reporting.text_tables import format_value, summary_table, write_summary

ROWS = [
    {"cell": "natural-s0.99-l2-seed0", "accuracy": 84.9133, "seconds": 12345.6, "status": "done"},
    {"cell": "x", "accuracy": float("nan"), "status": "failed: a|b\nsee log"},
]


def test_golden_terminal_table() -> None:
    assert summary_table([ROWS[0], {"cell": "x", "status": "failed"}]) == (
        "cell                      accuracy    seconds  status\n"
        "----------------------  ----------  ---------  --------\n"
        "natural-s0.99-l2-seed0       84.91      12346  done\n"
        "x                                -          -  failed\n"
    )


def test_columns_can_be_chosen_and_ordered() -> None:
    lines = summary_table(ROWS, ["seconds", "cell"]).splitlines()
    assert lines[0].split() == ["seconds", "cell"]
    assert lines[2].split() == ["12346", "natural-s0.99-l2-seed0"]


def test_an_empty_sweep_says_so(tmp_path: Path) -> None:
    assert summary_table([]) == "no results\n"
    paths = write_summary([], tmp_path, "sweep")
    assert paths[0].read_text("utf-8") == "no results\n"
    assert json.loads(paths[2].read_text("utf-8")) == []


def test_columns_without_rows_leave_the_header() -> None:
    assert summary_table([], ["cell", "accuracy"]) == "cell    accuracy\n------  ----------\n"


def test_written_files_hold_full_numbers_and_no_gap(tmp_path: Path) -> None:
    paths = write_summary(ROWS, tmp_path / "new", "sweep")
    assert [path.name for path in paths] == ["sweep.md", "sweep.csv", "sweep.json"]
    markdown, table, content = (path.read_text("utf-8") for path in paths)
    assert markdown == (
        "| cell | accuracy | seconds | status |\n"
        "| --- | ---: | ---: | --- |\n"
        "| natural-s0.99-l2-seed0 | 84.91 | 12346 | done |\n"
        "| x | - | - | failed: a\\|b see log |\n"
    )
    records = list(csv.DictReader(io.StringIO(table)))
    assert records[0]["accuracy"] == "84.9133"
    assert (records[1]["accuracy"], records[1]["seconds"]) == ("n/a", "n/a")
    assert records[1]["status"] == ROWS[1]["status"]
    assert json.loads(content) == [
        ROWS[0],
        {"cell": "x", "accuracy": None, "seconds": None, "status": ROWS[1]["status"]},
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.99, "0.99"),
        (7.4512345, "7.451"),
        (123456.7, "123457"),
        (0.0, "0"),
        (3, "3"),
        (1234567, "1234567"),
        (True, "True"),
        (None, "-"),
        (float("inf"), "-"),
        ("done", "done"),
    ],
)
def test_values_read_well(value, text: str) -> None:
    assert format_value(value) == text
