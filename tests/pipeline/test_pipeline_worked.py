"""Seconds of work over all starts, by machine: each until the last thing that it kept."""

from __future__ import annotations

import os
import shutil

import pytest

from rewire.pipeline.worked import BEGUN, begin, forget

DECIDED = {"seed": 0}


def at(path, seconds):
    os.utime(path, (seconds, seconds))


def test_stopped_starts_count_until_what_they_kept_last(tmp_path):
    kept = tmp_path / "kept"
    assert begin(kept, decided=DECIDED, machine="A") == {}
    at(kept / BEGUN, 1000)
    for name, when in (("first", 1010), ("deep/second", 1060.5), ("third", 1030)):
        (kept / name).parent.mkdir(exist_ok=True)
        (kept / name).touch()
        at(kept / name, when)
    assert begin(kept, decided=DECIDED, machine="A") == {"A": 60.5}
    at(kept / BEGUN, 5000)
    (kept / "first").touch()
    at(kept / "first", 5100)
    assert begin(kept, decided=DECIDED, machine="B") == {"A": 160.5}
    assert begin(kept, decided=DECIDED, machine="B") == {"A": 160.5}  # it kept nothing
    at(kept / BEGUN, 7000)
    at(kept / "first", 7003)
    assert begin(kept, decided=DECIDED, machine="A") == {"A": 160.5, "B": 3.0}
    at(kept / BEGUN, 8000)
    at(kept / "first", 8004)
    assert begin(kept, decided=DECIDED, machine="B") == {"A": 164.5, "B": 3.0}


def test_every_configuration_has_seconds_of_its_own(tmp_path):
    begin(tmp_path, decided=DECIDED, machine="A")
    at(tmp_path / BEGUN, 1000)
    (tmp_path / "state").touch()
    at(tmp_path / "state", 1100)
    assert begin(tmp_path, decided={"seed": 1}, machine="A") == {}
    at(tmp_path / BEGUN, 2000)
    at(tmp_path / "state", 2010)
    assert begin(tmp_path, decided=DECIDED, machine="A") == {"A": 100.0}
    assert begin(tmp_path, decided={"seed": 1}, machine="A") == {"A": 10.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"of": null}',
        '{"of": "a", "seconds": 3}',
        '{"of": "a", "seconds": {"a": "b"}}',
        '{"of": "a", "seconds": {"a": 3.5}}',
        '{"of": "a", "machine": "A", "seconds": {"a": {"A": "b"}}}',
    ],
)
def test_a_damaged_note_counts_nothing(tmp_path, text):
    (tmp_path / BEGUN).write_text(text)
    assert begin(tmp_path, decided=DECIDED, machine="A") == {}


def test_a_note_alone_is_taken_back(tmp_path):
    kept = tmp_path / "kept"
    begin(kept, decided=DECIDED, machine="A")
    forget(kept)
    assert not kept.exists()
    forget(kept)
    begin(kept, decided=DECIDED, machine="A")
    (kept / "state").touch()
    forget(kept)
    assert {path.name for path in kept.iterdir()} == {BEGUN, "state"}
    shutil.rmtree(kept)
