"""What the pipeline runs: the lists in params.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from rewire.errors import InputError

PARAMS = Path("params.yaml")


def read_axes(path: Path, document: str, keys: Sequence[str]) -> dict[str, list]:
    """The lists of a document in `params.yaml`.

    Raises:
        InputError: for a file that is missing, cannot be read or lacks one of them.
    """
    try:
        axes = yaml.safe_load(path.read_text(encoding="utf-8"))[document]
        found = {key: axes[key] for key in keys}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        names = " and ".join(f"{document}.{key}" for key in keys)
        raise InputError(f"'{path}' must list {names}: {error}") from error
    for key, values in found.items():
        if not isinstance(values, list):
            raise InputError(
                f"'{path}': {document}.{key} is {values!r}. Allowed: a list, e.g. [{values}]."
            )
    return found
