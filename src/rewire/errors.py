"""The one error type that a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A value given by the user that cannot be used; the message names it and what is allowed.

    Entry points print the message alone and exit with `exit_code`; anything else is a defect of
    this package and keeps its traceback.
    """

    exit_code = 2


class DivergedError(InputError):
    """A training that has no finite result: what was given could be used, but led nowhere."""

    exit_code = 1


def unknown_name(kind: str, name: object, allowed: Iterable[str]) -> InputError:
    """An `InputError` for a name that is not one of `allowed`, with the nearest one suggested."""
    names = sorted(allowed)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return InputError(f"unknown {kind} '{name}'.{hint} Allowed: {', '.join(names)}.")


def missing_package(name: str, *, extra: str) -> InputError:
    """An `InputError` for a package that is not installed, with the extra that brings it."""
    return InputError(
        f"the package '{name}' is not installed. It comes with the extra 'rewire[{extra}]': "
        f"pip install 'rewire[{extra}]'."
    )
