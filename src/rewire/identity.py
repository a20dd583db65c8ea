"""What makes a result what it is: the options that decide it, and what differs between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rewire.errors import InputError
from rewire.files import read_json

NEUTRAL = (
    "data.root",
    "trainer.device",
    "trainer.threads",
    "trainer.checkpoint_every",
    "trainer.check",
    "attack.batch_size",
    "attack.check_every",
)
"""Options that say where data lie, or where, how fast and how carefully to compute: no result
depends on them but for the rounding that another machine brings, too."""
LATER = {"prune.finetune.epochs": 0, "prune.finetune.lr": 0.01}
"""Options that older results do not name → the value that says what was done."""
ENGINE = "trainer.engine"
SPARSE_FROM = 0.8
"""Sparsity from which the sparse engine is faster (docs/performance.md)."""


def automatic_engine(config: Mapping[str, Any]) -> str:
    """The engine that `auto` takes where it was built, as far as the configuration tells."""
    sparse = config["sparsity"] >= SPARSE_FROM and config["trainer"].get("device") != "cuda"
    return "sparse" if sparse else "dense"


def is_neutral(option: str, config: Mapping[str, Any]) -> bool:
    """Whether an option (its dotted path) changes no result, in a configuration that has it.

    An engine sums in an order of its own: naming one is neutral where `auto` takes it anyway.
    """
    if option == ENGINE:
        return config["trainer"]["engine"] in ("auto", automatic_engine(config))
    return option in NEUTRAL


def decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a plain configuration without the options that change no result."""

    def kept(section: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        return {
            key: kept(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
            for key, value in section.items()
            if not is_neutral(f"{prefix}{key}", config)
        }

    return kept(config, "")


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Words for every option in which two plain configurations differ; the neutral ones count."""
    old, new = dict(_flat(before)), dict(_flat(after))
    for name, value in LATER.items():
        if name in old or name in new:
            old.setdefault(name, value)
            new.setdefault(name, value)
    return [
        f"{name} was {_shown(old, name)}, is {_shown(new, name)}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]


def changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Words for the code behind something (file → hash) if it is not today's, else None."""
    if now and not before:
        return "code that is not recorded"
    changed = sorted(other_names(before, now))
    return f"other code ({listed(changed)})" if changed else None


def changed_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Words for the options that decide something and are different now: no inputs, no code."""
    return differences(
        *(
            decisive({key: value for key, value in side.items() if key not in ("code", "inputs")})
            for side in (before, now)
        )
    )


def other_names(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names (of inputs, of files) under which something else stands now, or nothing any more."""
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]


def what_differs(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Words for all that decided something before and is different now; empty if nothing is.

    Args:
        before, now: plain configurations, `inputs` (name → hash) and `code` among them.
    """
    others = other_names(*(side.get("inputs") or {} for side in (before, now)))
    options = changed_options(before, now)
    said = [changed_code(before.get("code") or {}, now.get("code") or {})]
    if others:
        said.append(f"another {' and '.join(others)}")
    if options:
        said.append(f"another configuration ({listed(options)})")
    return " and ".join(filter(None, said))


def differs_from(record: Path, now: Mapping[str, Any]) -> str:
    """`what_differs` of what was written down in a file; what is missing or damaged differs."""
    try:
        return what_differs(read_json(record), now)
    except (InputError, AttributeError, TypeError):
        return "a configuration that is not recorded"


def listed(items: list[str], *, most: int = 4) -> str:
    """The first items in one line, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


_ABSENT = object()


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "not there"
    text = str(values[name])
    return text if len(text) <= 40 else text[:37] + "…"
