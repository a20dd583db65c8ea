"""The folder of a profile: its name, and its finished cells."""

from __future__ import annotations

from pathlib import Path

import yaml

from rewire.errors import InputError
from rewire.files import MANIFEST
from rewire.pipeline.common import Profile
from rewire.pipeline.document import Document
from rewire.pipeline.paths import CONF


def profile_of(source: Path, document: Document) -> Profile:
    """Name and note of the profile whose outputs these are, in a document's words."""
    path = CONF / document.name / "profile" / f"{source.name}.yaml"
    if not path.is_file():
        allowed = ", ".join(p.stem for p in sorted(path.parent.glob("*.yaml")))
        raise InputError(f"'{source}' has the name of no profile. Allowed: {allowed}.")
    return Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))["profile"])


def finished(source: Path, stage: str) -> list[str]:
    """Names of the cells that a stage has finished."""
    return sorted(path.parent.name for path in (source / stage).glob(f"*/{MANIFEST}"))
