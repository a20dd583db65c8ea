"""Registries and the errors a user reads."""

from __future__ import annotations

import pytest

from rewire.errors import InputError, unknown_name
from rewire.registry import Registry


@pytest.fixture
def colours():
    registry = Registry("colour")
    for name in ("red", "green", "blue"):
        registry.register(name)(name.upper())
    return registry


def test_entries_by_name_in_alphabetical_order(colours):
    assert list(colours) == ["blue", "green", "red"]
    assert len(colours) == 3
    assert colours["green"] == "GREEN"
    assert "green" in list(colours)


def test_registering_returns_the_entry_unchanged():
    registry = Registry("function")

    @registry.register("double")
    def double(x):
        return 2 * x

    assert registry["double"] is double
    assert double(4) == 8


def test_registries_are_independent(colours):
    assert list(Registry("colour")) == []
    assert len(colours) == 3


def test_a_name_is_registered_once(colours):
    with pytest.raises(AssertionError, match="colour 'red' is registered twice"):
        colours.register("red")("other")
    assert colours["red"] == "RED"


def test_an_unknown_name_lists_the_allowed_and_the_nearest(colours):
    with pytest.raises(InputError) as caught:
        colours["gren"]
    message = "unknown colour 'gren'. Did you mean 'green'? Allowed: blue, green, red."
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["xyzzy", "", None, 3, "RED"])
def test_nothing_is_suggested_where_nothing_is_near(colours, name):
    with pytest.raises(InputError) as caught:
        colours[name]
    assert str(caught.value) == f"unknown colour '{name}'. Allowed: blue, green, red."


def test_unknown_name_is_a_value_error_with_sorted_names():
    error = unknown_name("metric", "eq4", ("euclidean", "eq3"))
    assert isinstance(error, InputError)
    assert isinstance(error, ValueError)
    assert str(error) == "unknown metric 'eq4'. Did you mean 'eq3'? Allowed: eq3, euclidean."
