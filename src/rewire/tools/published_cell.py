"""The published files of one trained cell, read together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rewire.files import read_json
from rewire.pipeline.document import CONFIG, METRICS
from rewire.pipeline.made import PROVENANCE

NATURAL = "natural"  # objective without attacks


@dataclass(frozen=True)
class Cell:
    """The published files of a trained cell; None for a stage that has not run.

    Attributes:
        name: of the cell.
        note: the scale of its profile in words.
        config: what decided its training.
        trained, evaluated, structure, audit: what the stages measured.
        provenance: of the training; empty if it came without.
    """

    name: str
    note: str
    config: Mapping[str, Any]
    trained: Mapping[str, Any]
    evaluated: Mapping[str, Any] | None
    structure: Mapping[str, Any] | None
    audit: Mapping[str, Any] | None
    provenance: Mapping[str, Any]

    @property
    def adversarial(self) -> bool:
        """Whether it was trained on attacked images."""
        return self.config["objective"]["name"] != NATURAL

    @property
    def architecture(self) -> str:
        model = self.config["model"]
        return f"{model['name']} of width {model['width']:g}"


def read_cell(folder: Path, note: str) -> Cell:
    """A cell's published files.

    Raises:
        InputError: if those of its training are missing or damaged.
    """

    def read(name: str) -> Any:
        return read_json(folder / name) if (folder / name).is_file() else None

    return Cell(
        name=folder.name,
        note=" ".join(note.split()),
        config=yaml.safe_load((folder / f"train_{CONFIG}").read_text(encoding="utf-8")),
        trained=read_json(folder / f"train_{METRICS}"),
        evaluated=read(f"evaluate_{METRICS}"),
        structure=read(f"structure_{METRICS}"),
        audit=read(f"audit_{METRICS}"),
        provenance=read(f"train_{PROVENANCE}") or {},
    )


def accuracy(measured: Mapping[str, Any], kind: str = "clean") -> float:
    """A measured accuracy in percent."""
    return measured[kind]["accuracy"]


def attack_name(cell: Cell) -> str:
    """The evaluation attack in a few words, e.g. `PGD-50 with 10 restarts`."""
    attack = cell.evaluated["attack"]
    if attack["name"] == "autoattack":
        return "AutoAttack"
    restarts = attack["restarts"]
    return f"PGD-{attack['steps']} with {restarts} restart{'s' if restarts > 1 else ''}"


def radius(cell: Cell) -> str:
    """ε as people write it: 8/255."""
    return f"{255 * cell.evaluated['attack']['epsilon']:.4g}/255"
