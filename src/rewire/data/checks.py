"""One check for every count that a user can set."""

from __future__ import annotations

from typing import Any

from rewire.errors import InputError


def check_count(name: str, value: Any, *, low: int, high: int | None = None) -> int:
    """`value` if it is a whole number in [low, high]; `high=None` is no upper limit.

    Raises:
        InputError: otherwise; names the setting, the value and the range.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and low <= value and (high is None or value <= high):
        return value
    allowed = f"from {low}" if high is None else f"{low}..{high}"
    raise InputError(f"{name} = {value!r} cannot be used. Allowed: whole numbers {allowed}.")
