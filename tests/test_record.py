"""Typed records keep what a JSON file holds."""

from __future__ import annotations

import json

import pytest
from pydantic import Field

from rewire.errors import InputError
from rewire.record import Record


class Zeros(Record):
    count: int
    percent: float


class Structure(Record):
    zeros: Zeros
    above: Zeros | None = Field(None, alias="above_1e-6")
    turnover: float | None = None


PLAIN = {"zeros": {"count": 3, "percent": 8.25}, "above_1e-6": {"count": 4, "percent": 9.5}}


def test_a_record_reads_and_writes_the_same_values(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(PLAIN))
    record = Structure.read(path)
    assert record.zeros.count == 3
    assert record.above.percent == 9.5
    assert json.dumps(record.as_json()) == json.dumps(PLAIN)


def test_what_was_given_as_none_is_written_and_what_was_not_given_is_not():
    zeros = Zeros(count=0, percent=0.0)
    assert "turnover" not in Structure(zeros=zeros).as_json()
    assert Structure(zeros=zeros, turnover=None).as_json()["turnover"] is None


def test_what_another_version_wrote_beside_it_is_passed_over(tmp_path):
    assert Structure.of(PLAIN | {"older": 1}, file="f.json").zeros.count == 3


@pytest.mark.parametrize(
    ("plain", "place"),
    [({}, "zeros"), ({"zeros": {"count": "many", "percent": 1.0}}, "zeros.count"), ([], "all")],
)
def test_a_file_of_something_else_is_one_line_that_names_file_and_place(plain, place):
    with pytest.raises(InputError, match=r"'f\.json'") as error:
        Structure.of(plain, file="f.json")
    assert place in str(error.value)
    assert len(str(error.value).splitlines()) == 1
