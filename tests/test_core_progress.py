"""Bars and times: shown where somebody watches, quiet in logs."""

from __future__ import annotations

import sys

import pytest

from rewire import progress
from rewire.progress import Pace, about, bar, tell


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_for_terminals_and_lines_are_for_all(terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with bar("noise", total=20, unit="step") as shown:
        shown.update(5)
        tell(shown, "3/.25  1.0 s")
        shown.update(15)
    found = capsys.readouterr()
    assert found.out == "3/.25  1.0 s\n"
    drawn = ["noise: " in found.err, "20/20" in found.err, "step/s" in found.err]
    assert drawn == [terminal] * 3
    assert terminal or not found.err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "less than a minute"), (60, "about a minute"), (350, "about 6 minutes"),
        (6000, "about 100 minutes"), (7300, "about 2 hours"), (300_000, "about 3 days"),
    ],
)  # fmt: skip
def test_lengths_of_time_are_told_as_people_do(seconds, words):
    assert about(seconds) == words


def test_a_pace_counts_what_is_over_whatever_runs_side_by_side(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    pace = Pace(6)
    told = []
    for seconds in (120, 120, 240, 360, 360, 365):  # ended so long after the beginning
        clock[0] = 100 + seconds
        told.append(pace.another())
    assert told == [
        ", about 10 minutes left", ", about 4 minutes left", ", about 4 minutes left",
        ", about 3 minutes left", ", about a minute left", "",
    ]  # fmt: skip
