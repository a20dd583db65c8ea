"""What every configured value may be, as tables that mirror `conf`; read without importing torch.

A table maps the name of an option to a `Rule` or to the table of a section. `name?` may be missing
(it belongs to some choices of a group only), `*` stands for names that the user gives. The layers
below check their own arguments again; these tables exist so that all mistakes are told at once,
before anything is imported, read or written. Tests hold them against `conf` and the registries.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Union

from rewire.numbers import as_it_is, fraction
from rewire.pipeline.document import LAST, SELECTIONS

BEST = tuple(name for name in SELECTIONS if name != LAST)
CLASSES = 10  # of CIFAR-10 and of MNIST
LONGEST_TEXT, LONGEST_SHOWN = 1000, 80


@dataclass(frozen=True)
class Rule:
    """Which values one option takes.

    Attributes:
        allowed: the same in words.
        fits: whether a plain value (JSON's types) is one of them; takes anything.
        fault: what exactly is wrong with a value that does not fit, in a sentence; or nothing.
        read: the value that is meant by one as people write it (8/255); then it is judged.
    """

    allowed: str
    fits: Callable[[Any], bool]
    fault: Callable[[Any], str] = lambda value: ""
    read: Callable[[Any], Any] = as_it_is


Table = Mapping[str, Union[Rule, "Table"]]


def real(
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float = math.inf,
    at_most: float = math.inf,
    example: str = "",
) -> Rule:
    """A finite number between two limits; `above` and `below` are excluded themselves."""
    low = above if above is not None else at_least
    words = [f"above {above:g}" if above is not None else f"from {at_least:g}"]
    words += [f"below {below:g}"] * (below < math.inf) + [f"at most {at_most:g}"] * (
        at_most < math.inf
    )

    def fits(value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not -math.inf < value < math.inf:
            return False
        return low <= value <= at_most and value < below and value != above

    return Rule(f"a number {' and '.join(words)}{example}", fits, read=fraction)


def count(at_least: int, at_most: float = math.inf) -> Rule:
    """A whole number; true and false are none."""
    upper = f" to {at_most:,}" if at_most < math.inf else ""
    return Rule(
        f"a whole number from {at_least}{upper}",
        lambda value: type(value) is int and at_least <= value <= at_most,
    )


def choice(*names: Any) -> Rule:
    """One of these values, of the same type."""
    words = ", ".join(str(n).lower() if isinstance(n, bool) else str(n) for n in names)
    return Rule(words, lambda value: any(type(value) is type(n) and value == n for n in names))


def optional(rule: Rule, meaning: str) -> Rule:
    """What `rule` takes, or null."""
    return Rule(
        f"{rule.allowed}, or null for {meaning}",
        lambda value: value is None or rule.fits(value),
        read=rule.read,
    )


def either(*rules: Rule) -> Rule:
    """What one of the rules takes."""
    return Rule(
        ", or ".join(rule.allowed for rule in rules),
        lambda value: any(rule.fits(value) for rule in rules),
        read=lambda value: next((r for rule in rules if rule.fits(r := rule.read(value))), value),
    )


def items(rule: Rule, *, of: str, at_least: int = 0) -> Rule:
    """A list; `of` says in words what it holds."""
    few = ", at least one" if at_least else ""
    return Rule(
        f"a list of {of}{few}",
        lambda value: (
            isinstance(value, list) and len(value) >= at_least and all(map(rule.fits, value))
        ),
        read=rule.read,
    )


def shown(value: Any) -> str:
    """A value as the messages have it: null, true and quoted text, cut if it is long."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def rows(*rules: Rule, of: str, at_least: int = 1, columns: Sequence[str] = ()) -> Rule:
    """A list of lists with one value per rule; `columns` are what messages call these values."""
    row = Rule(
        "",
        lambda value: (
            isinstance(value, list)
            and len(value) == len(rules)
            and all(rule.fits(part) for rule, part in zip(rules, value, strict=True))
        ),
        read=fraction,
    )

    def fault(value: Any) -> str:
        lists = [r for r in value if isinstance(r, list)] if isinstance(value, list) else []
        parts = (part for r in lists for part in zip(columns, rules, r, strict=False))
        wrong = (
            f"{name} is {shown(v)}. Allowed: {rule.allowed}."
            for name, rule, v in parts
            if not rule.fits(v)
        )
        return next(wrong, "")

    return replace(items(row, of=of, at_least=at_least), fault=fault)


def named(rules: Mapping[str, Rule], *, of: str) -> Rule:
    """A mapping with exactly these keys."""
    return Rule(
        of,
        lambda value: (
            isinstance(value, dict)
            and set(value) == set(rules)
            and all(rule.fits(value[key]) for key, rule in rules.items())
        ),
        read=fraction,
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and value.isprintable()


def _is_name(value: Any) -> bool:
    # A name of digits alone arrives as a number.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.=+-]{0,59}", str(value)) is not None


FLAG = choice(False, True)
TEXT = Rule(f"printable text of 1 to {LONGEST_TEXT:,} characters", _is_text)
NOTE = Rule("text", lambda value: isinstance(value, str))
PATH = Rule(
    f"a path of 1 to {LONGEST_TEXT:,} printable characters (quoted if a number)",
    _is_text,
    read=lambda value: os.path.expanduser(value) if isinstance(value, str) else value,
)
NAME = Rule("1 to 60 letters, digits and _ . = + -, the first a letter or digit", _is_name)
SCALE = Rule(
    "1 to 60 letters, digits and _ . = + -, the first a letter or digit, quoted if a number",
    lambda value: isinstance(value, str) and _is_name(value),
)
SHARE = real(at_least=0, at_most=1)
SOME = real(above=0, at_most=1)
POSITIVE = real(above=0)
NO_SPARSITY = Rule("0 with rewire=dense", lambda value: type(value) in (int, float) and value == 0)
ALL = optional(count(1), "all")
DEVICE = choice("auto", "cpu", "cuda")
PRECISION = choice("auto", "32-true", "bf16-mixed")
THREADS = optional(count(1), "all cores")

COMMON: Table = {
    "seed": count(0, 2**63 - 1),
    "arm": optional(NAME, "no variant"),
    "output": PATH,
    "force": FLAG,
    "profile": {"name": SCALE, "note": NOTE, "epochs?": {"*": count(1)}},
    "tracking": {
        "mode": choice("off", "offline", "online"),
        "project": TEXT,
        "folder": PATH,
        "system_metrics": FLAG,
    },
}


def image_data(dataset: str, *, optional_keys: str) -> Table:
    return {
        "source": choice("embedded", "folder", "download"),
        "root": PATH,
        "validation_size": count(0),
        "train_size": ALL,
        "test_size": ALL,
        "augmentation": choice("shift", "crop", "none"),
        f"dataset{optional_keys}": choice(dataset),
        f"split{optional_keys}": choice("balanced", "first"),
    }
