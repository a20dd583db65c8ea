"""Numbers as people write them: `8/255`, on the command line and in every configuration file."""

from __future__ import annotations

import math
import re
from typing import Any

NUMBER = r"(-?\d+(?:\.\d+)?)"
FRACTION = re.compile(rf"\s*{NUMBER}\s*/\s*{NUMBER}\s*", re.ASCII)
IN_OVERRIDE = re.compile(rf"=\s*['\"]?{FRACTION.pattern}['\"]?\s*$", re.ASCII)


def fraction(value: Any) -> Any:
    """The number that a text such as "8/255" means, also inside lists and mappings.

    Any other value comes back as it is.
    """
    if isinstance(value, list):
        return [fraction(entry) for entry in value]
    if isinstance(value, dict):
        return {key: fraction(entry) for key, entry in value.items()}
    match = FRACTION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    above, below = map(float, match.groups())
    number = above / below if below else math.inf
    return number if math.isfinite(number) else value


def as_it_is(value: Any) -> Any:
    """`value`: of options that hold no such number."""
    return value


def nameable(override: str) -> str:
    """An override whose fraction can be part of a folder's name, however it was quoted: `8_255`."""
    return IN_OVERRIDE.sub(r"=\1_\2", override)
