"""A sweep in parts: n machines that know nothing of each other each take every n-th cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rewire.errors import InputError


def check_shard(shard: Any) -> tuple[int, int]:
    """(i, n) of `i/n`, the i-th of n parts; (1, 1) without one; raises `InputError` for others."""
    if shard is None:
        return 1, 1
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", str(shard))
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(
            f"hydra.launcher.shard is {shard}. Allowed: i/n with i from 1 to n, e.g. 2/8."
        )
    return int(found[1]), int(found[2])


def part(shard: Any, *lists: Sequence[Any]) -> tuple[list[Any], ...]:
    """Of each list the entries that belong to this part of the sweep; all parts make up the whole.

    Neighbouring jobs go to different parts: they often take equally long.
    """
    number, count = check_shard(shard)
    return tuple(list(entries[number - 1 :: count]) for entries in lists)
