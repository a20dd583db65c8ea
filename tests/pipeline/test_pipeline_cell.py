"""A cell at other stages and places of the matrix."""

from __future__ import annotations

from helpers.small import small

from rewire.pipeline.cell import Cell


def test_a_cell_takes_another_name_in_any_group_and_another_value_of_an_option(tmp_path):
    cell = Cell.of("evaluate", *small(tmp_path))
    other = cell.at("evaluate", attack="autoattack", seed=3)
    assert other.plain["attack"] == {**cell.plain["attack"], "name": "autoattack"}
    assert (cell.plain["seed"], other.plain["seed"]) == (0, 3)
    assert other.plain["rewire"] == cell.plain["rewire"]
