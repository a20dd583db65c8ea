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

from rewire.stages.documents import LAST, SELECTIONS
from rewire.stages.validation_numbers import as_it_is, fraction

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
    "tracking": {"mode": choice("off", "offline", "online"), "project": TEXT, "folder": PATH},
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


THESIS: Table = {
    **COMMON,
    "profile": {**COMMON["profile"], "thin?": {"*": SOME}},
    "sparsity": either(real(above=0, below=1, example=", e.g. 0.99"), NO_SPARSITY),
    "selection": choice(*SELECTIONS),
    "data": image_data("cifar10", optional_keys="?"),
    "model": {
        "name": choice("vgg11", "vgg16", "resnet18"),
        "width": real(above=0, at_most=16),
        "classes": count(CLASSES, 10_000),
        "image_size": choice(32),
        "p_init_first": items(SHARE, of="numbers from 0 to 1"),
        "p_init_last": items(SHARE, of="numbers from 0 to 1"),
        "p_init_factor": real(at_least=0),
    },
    "objective": {
        "name": choice("natural", "trades", "at", "mat", "mart"),
        "epsilon?": SOME,
        "step_size?": POSITIVE,
        "steps?": count(1),
        "beta?": POSITIVE,
    },
    "rewire": {
        "name": choice("random", "l2", "weighted", "vector", "static", "dense"),
        "metric": choice("euclidean", "eq3"),
        "ties": choice("random", "first", "same_vector"),
        "gamma": real(at_least=0, at_most=10),
    },
    "trainer": {
        "epochs": count(1),
        "batch_size": count(1),
        "lr": POSITIVE,
        "momentum": real(at_least=0, below=1),
        "weight_decay": real(at_least=0, below=1),
        "precision": PRECISION,
        "device": DEVICE,
        "threads": THREADS,
        "checkpoint_every": count(0),
        "engine": choice("auto", "sparse", "dense"),
        "log_every": count(1),
        "check": FLAG,
        "selections": items(choice(*BEST), of=" and ".join(BEST)),
    },
    "prune": {
        "name": choice("lonely"),
        "layers": choice("all", "inner"),
        "reestimate_batchnorm": FLAG,
    },
    "attack": {
        "name": choice("pgd", "autoattack"),
        "epsilon": SOME,
        "steps": count(1),
        "restarts": count(1),
        "batch_size": optional(count(1), "the machine's choice"),
        "images": ALL,
        "step_size?": optional(POSITIVE, "2.5 epsilon / steps"),
        "check_every?": optional(count(1), "the machine's choice"),
        "first_pass_steps?": optional(count(1), "none"),
        "queries?": count(1),
    },
    "audit": {
        "name": choice("standard"),
        "images": ALL,
        "tolerance": real(at_least=0, at_most=100),
        "zero_gradients": real(at_least=0, at_most=100),
        "steps": count(1),
        "epsilons": items(
            replace(real(at_least=0, at_most=255), read=as_it_is),
            of="numbers from 0 to 255",
            at_least=1,
        ),  # in 1/255 already
        "step_sweep": items(count(1), of="whole numbers from 1", at_least=1),
        "noise_draws": count(1),
        "transfer_from": items(NAME, of="rewiring strategies"),
        "transfer_seed": optional(count(0, 2**63 - 1), "another strategy of the same seed"),
        "straight_through": {
            "leaks": items(SOME, of="numbers above 0 and at most 1", at_least=1),
            "dormant": SHARE,
        },
        "autoattack": {"images": count(0), "steps": count(1), "queries": count(1)},
    },
}
