"""What the folder of a profile holds: its name, its finished cells, their tables and scale."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rewire.errors import InputError
from rewire.files import MANIFEST, read_json
from rewire.stages.documents import THESIS, Document
from rewire.stages.entry import CONF
from rewire.stages.shown import EXAMINED, derived

REWIRE = ("random", "l2", "weighted", "vector")  # order of strategies; others follow
STANDARD = re.compile(r"(.+-s[0-9.]+)-([a-z0-9_]+)-seed([0-9]+)")  # a cell without an arm


def profile_of(source: Path, document: Document = THESIS) -> dict[str, str]:
    """Name and note of the profile whose outputs these are, in a document's words."""
    path = CONF / document.conf / "profile" / f"{source.name}.yaml"
    if not path.is_file():
        allowed = ", ".join(p.stem for p in sorted(path.parent.glob("*.yaml")))
        raise InputError(f"'{source}' has the name of no profile. Allowed: {allowed}.")
    return yaml.safe_load(path.read_text(encoding="utf-8"))["profile"]


def finished(source: Path, stage: str) -> list[str]:
    """Cells that a stage has finished, in the order of tables."""

    def order(name: str) -> tuple:
        match = STANDARD.fullmatch(name)
        place = REWIRE.index(match[2]) if match and match[2] in REWIRE else len(REWIRE)
        return match is None, match[1] if match else name, place, name

    return sorted((p.parent.name for p in (source / stage).glob(f"*/{MANIFEST}")), key=order)


def axes_of(names: Sequence[str]) -> dict[str, list]:
    """Cells, strategies and seeds of the standard cells among `names`, as in params.yaml."""
    found = [match for name in names if (match := STANDARD.fullmatch(name)) and match[2] in REWIRE]
    return {
        "cells": sorted({match[1] for match in found}),
        "rewire": [rewire for rewire in REWIRE if any(match[2] == rewire for match in found)],
        "seeds": sorted({int(match[3]) for match in found}) or [0],
    }


def specifications() -> list[Path]:
    """All tables of the first document: the thesis's own, then those of arms and baselines."""
    return [
        *sorted((CONF / "table").glob("thesis_*.yaml")),
        *sorted((CONF / "table" / "arms").glob("*.yaml")),
    ]


def overview(source: Path, name: str) -> dict[str, Any]:
    """One row about one cell: its scale and its main numbers."""
    config = yaml.safe_load((source / "train" / name / "config.yaml").read_text(encoding="utf-8"))
    trained = read_json(source / "train" / name / "metrics.json")
    path = source / "train" / name / "provenance.json"
    provenance = read_json(path) if path.is_file() else {}  # the pipeline does not keep it
    robust = (derived(source, "evaluate", name, EXAMINED) or {}).get("robust", {})
    return {
        "cell": name,
        "epochs": config["trainer"]["epochs"],
        "connected": trained["connected"],
        "clean %": trained["clean"]["accuracy"],
        "robust %": robust.get("accuracy"),
        "attacked": robust.get("total"),
        "zero vectors %": trained["structure"]["zero_vectors"]["percent"],
        "births / K": trained["births"] / trained["budget"],
        "training, s": provenance.get("seconds"),
    }
