"""A network from elsewhere in the place of a trained one: `network=FILE`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewire.errors import InputError
from rewire.files import WEIGHTS, sha256
from rewire.pipeline.document import Stage

FOREIGN = "network"  # the option, and the input that stands in the place of the training
PREFIX = "foreign-"  # of such cells; no objective has this name


def foreign_of(config: Mapping[str, Any]) -> Path | None:
    """The file of the network that a configuration names; None where a trained one is meant."""
    network = config.get(FOREIGN)
    return Path(network) if isinstance(network, str) else None  # a group of the article


def foreign_cell(path: Path) -> str:
    """The name of a file's cells: another one for every content, and of no trained cell.

    Raises:
        InputError: if there is no such file.
    """
    try:
        digest = sha256(path)
    except OSError as error:
        raise InputError(
            f"network '{path}' cannot be read: {error.strerror}. Allowed: a file."
        ) from error
    stem = path.parent.name if path.name == WEIGHTS else path.stem
    return f"{PREFIX}{re.sub('[^A-Za-z0-9.]+', '_', stem)[:40]}-{digest[:12]}"


def groups_of(stage: Stage, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Configuration groups that take part in what a stage makes of this configuration."""
    return stage.foreign if foreign_of(config) else stage.groups
