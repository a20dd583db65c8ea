"""How a command ends: one line per mistake, and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable
from typing import NoReturn

from rewire.errors import InputError

DEBUG = ("REWIRE_DEBUG", "HYDRA_FULL_ERROR")  # environment: 1 shows tracebacks


def stop(error: InputError) -> NoReturn:
    """Print what is wrong in one line and leave with its exit code."""
    show(error)
    refuse([str(error)], code=error.exit_code)


def show(error: BaseException) -> None:
    """Print where an error comes from, if that is wanted."""
    if any(os.environ.get(name) == "1" for name in DEBUG):
        traceback.print_exception(error)


def refuse(errors: Iterable[str], *, code: int = 2) -> NoReturn:
    """Print what is wrong, a line each, and leave with an exit code."""
    for line in errors:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(code)


def run_by_dvc() -> bool:
    """Whether the pipeline runs this, of which nobody wants to read every table."""
    return "DVC_STAGE" in os.environ  # DVC sets it for the commands of its stages
