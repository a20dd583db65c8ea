"""Attacks on the input of a classifier, by the `name` in conf/attack."""

from __future__ import annotations

import dataclasses
from typing import Any

from rewire.attacks.autoattack import AutoAttack
from rewire.attacks.pgd import PGD
from rewire.errors import unknown_name
from rewire.registry import Registry

ATTACKS: Registry[type] = Registry("attack")
ATTACKS.register("autoattack")(AutoAttack)
ATTACKS.register("pgd")(PGD)


def build_attack(name: str, **options: Any) -> Any:
    """The evaluation attack `name` with these options.

    Raises:
        InputError: for an unknown name or option, or a value that is not allowed.
    """
    kind = ATTACKS[name]
    allowed = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        if option not in allowed:
            raise unknown_name(f"option of attack '{name}'", option, allowed)
    return kind(**options)
