"""The published files of one trained cell, read together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewire.evaluation.statistics import Accuracy
from rewire.pipeline.document import CONFIG, METRICS
from rewire.provenance import PROVENANCE, Provenance
from rewire.thesis.metrics import Evaluation, Examination, Structure, Training
from rewire.tools.published_files import published_config

NATURAL = "natural"  # objective without attacks
AUTOATTACK = "autoattack"


@dataclass(frozen=True)
class Cell:
    """The published files of a trained cell; None for a stage that has not run.

    Attributes:
        name: of the cell.
        note: the scale of its profile in words.
        config: what decided its training.
        trained, evaluated, structure, audit: what the stages measured.
        stronger: an evaluation of the same network by AutoAttack, which is a variant beside it; the
            one with the most images.
        provenance: of the training.
    """

    name: str
    note: str
    config: Mapping[str, Any]
    trained: Training
    evaluated: Evaluation | None
    structure: Structure | None
    audit: Examination | None
    stronger: Evaluation | None
    provenance: Provenance | None

    @property
    def autoattack(self) -> Accuracy | None:
        """What AutoAttack leaves, of the most images that it was run on."""
        gap = self.audit.checks.autoattack if self.audit else None
        found = [Accuracy.counted(gap.correct, gap.images)] if gap else []
        of_network = [self.evaluated, self.stronger]
        found += [e.trained.robust for e in of_network if e and e.attack["name"] == AUTOATTACK]
        return max(found, key=lambda accuracy: accuracy.total, default=None)

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

    return Cell(
        name=folder.name,
        note=" ".join(note.split()),
        config=published_config(folder / f"train_{CONFIG}"),
        trained=Training.read(folder / f"train_{METRICS}"),
        evaluated=Evaluation.read_if_there(folder / f"evaluate_{METRICS}"),
        structure=Structure.read_if_there(folder / f"structure_{METRICS}"),
        audit=Examination.read_if_there(folder / f"audit_{METRICS}"),
        stronger=by_autoattack(folder),
        provenance=Provenance.read_if_there(folder / f"train_{PROVENANCE}"),
    )


def by_autoattack(folder: Path) -> Evaluation | None:
    """The evaluation by AutoAttack of a cell's network, from the cells beside it."""
    own = attacked(folder)
    found = []
    for beside in sorted(folder.parent.glob(f"{folder.name}-*{AUTOATTACK}*")):
        evaluation = Evaluation.read_if_there(beside / f"evaluate_{METRICS}")
        if evaluation and own and attacked(beside) == own:
            found.append(evaluation)
    return max(found, key=lambda e: e.trained.robust.total, default=None)


def attacked(folder: Path) -> str | None:
    """Hash of the trained network that a cell's evaluation attacked."""
    path = folder / f"evaluate_{CONFIG}"
    if not path.is_file():
        return None
    return (published_config(path).get("inputs") or {}).get("train")


def attack_name(attack: Mapping[str, Any]) -> str:
    """The evaluation attack in a few words, e.g. `PGD-50 with 10 restarts`."""
    if attack["name"] == AUTOATTACK:
        return "AutoAttack"
    restarts = attack["restarts"]
    return f"PGD-{attack['steps']} with {restarts} restart{'s' if restarts > 1 else ''}"


def radius(attack: Mapping[str, Any]) -> str:
    """ε as people write it: 8/255."""
    return f"{255 * attack['epsilon']:.4g}/255"
