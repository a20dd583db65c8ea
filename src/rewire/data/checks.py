"""One check for every count that a user can set."""

from __future__ import annotations

from rewire.errors import InputError


def check_count(name: str, value: object, *, low: int, high: int | None = None) -> int:
    """`value` if it is a whole number in [low, high]; `high=None` is no upper limit.

    Raises:
        InputError: otherwise; names the setting, the value and the range.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        allowed = f"from {low}" if high is None else f"{low}..{high}"
        raise InputError(f"{name} = {value!r} cannot be used. Allowed: whole numbers {allowed}.")
    return value
