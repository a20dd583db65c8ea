"""Checks of the numbers that attacks and objectives take from a user."""

from __future__ import annotations

import math
from typing import Any

from rewire.errors import InputError


def check_real(name: str, value: Any, *, above: float, at_most: float = math.inf) -> None:
    """Refuse a `value` that is not a finite number with above < value <= at_most.

    Raises:
        InputError: names the setting, the value and what is allowed.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not above < value <= at_most:
        upper = "" if math.isinf(at_most) else f" and at most {at_most:g}"
        raise InputError(f"{name} is {value!r}. Allowed: a number above {above:g}{upper}.")


def check_count(name: str, value: Any, *, at_least: int = 1) -> None:
    """Refuse a `value` that is not a whole number of at least `at_least`.

    Raises:
        InputError: names the setting, the value and what is allowed.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise InputError(f"{name} is {value!r}. Allowed: a whole number from {at_least} on.")


def check_ball(*, epsilon: float, step_size: float, steps: int) -> None:
    """Refuse an attack budget that does not describe a gradient attack on images in [0, 1].

    Raises:
        InputError: unless 0 < epsilon <= 1, step_size > 0 and steps >= 1.
    """
    check_real("epsilon", epsilon, above=0, at_most=1)
    check_real("step_size", step_size, above=0)
    check_count("steps", steps)
