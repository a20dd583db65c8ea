"""What may be shown of a cell: results of the network that is there, and of no other one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import Field

from rewire.evaluation.statistics import Accuracy
from rewire.pipeline.cell import VARIANTS
from rewire.pipeline.document import LAST, LEDGER, METRICS, SELECTIONS, WEIGHTS
from rewire.pipeline.made import command_for, is_current, read_config
from rewire.record import Record
from rewire.reporting import build_table
from rewire.structure.report import StructureReport
from rewire.thesis.metrics import Evaluation, Examination, Structure, Training
from rewire.training.metrics import Selected

OF_EVALUATION = ("clean", "robust")  # measures that stage `evaluate` leaves
OF_TRAINING = ("clean", "selections", "structure")  # measures that a training leaves itself
EXAMINED = "trained"  # variant that stage `audit` examines


class Metrics(Record):
    """What is known of one network; not given where nothing was measured or that is outdated."""

    clean: Accuracy | None = None
    robust: Accuracy | None = None
    selections: dict[str, Selected] = Field(default_factory=dict)
    structure: StructureReport | None = None


@dataclass(frozen=True, kw_only=True)
class Result(build_table.Result):
    """A variant of a cell's network.

    Attributes:
        folder: name of the cell.
        cell: the same without the seed.
        stages: part of `metrics` → stage that measured it.
        sparsity, objective, rewire, variant: what tables select by.
    """

    folder: str
    cell: str
    stages: Mapping[str, str]
    sparsity: float
    objective: str
    rewire: str
    variant: str
    metrics: Metrics


def results(base: Path, name: str, profile: str) -> Iterator[Result]:
    """One result per variant of a finished cell."""
    training = base / "train" / name
    try:
        config = read_config(training)
    except OSError:
        return
    trained = Training.read_if_there(training / METRICS)
    examination = examination_of(base, name)
    evaluation = Evaluation.read_if_there(base / "evaluate" / name / METRICS)
    structure = Structure.read_if_there(base / "structure" / name / METRICS)
    for variant in VARIANTS:
        own = variant == EXAMINED
        # What a training says of itself stands until later stages have run.
        found = {k: (getattr(trained, k), "train") for k in OF_TRAINING if own and trained}
        outdated: dict[str, str] = {}
        for stage, measures, keys in (
            ("evaluate", evaluation, OF_EVALUATION),
            ("structure", structure, ("structure",)),
        ):
            if measures is None:
                continue
            if not is_of(base, stage, name, variant):
                outdated |= dict.fromkeys(keys, command_for(base / stage / name))
            elif network := getattr(measures, variant):
                whole = stage == "structure"
                found |= {k: (network if whole else getattr(network, k), stage) for k in keys}
        yield Result(
            folder=name,
            cell=name.replace(f"-seed{config['seed']}", "", 1),
            stages={key: stage for key, (_, stage) in found.items()},
            sparsity=config["sparsity"],
            objective=config["objective"]["name"],
            rewire=config["rewire"]["name"],
            seed=config["seed"],
            variant=variant,
            profile=profile,
            metrics=Metrics(**{key: value for key, (value, _) in found.items()}),
            outdated=outdated,
            flags=examination.flags if own and examination else None,
            examined=fewest_images(examination) if own and examination else None,
        )


def is_of(base: Path, stage: str, name: str, variant: str) -> bool:
    """Whether the result of a stage was made from the variant of the network that is there."""
    try:
        selection = read_config(base / stage / name).get("selection", LAST)
    except (OSError, yaml.YAMLError):
        return False
    files = {
        "train": base / "train" / name / SELECTIONS[selection],
        "prune": base / "prune" / name / WEIGHTS,
    }
    maker = VARIANTS[variant]
    return is_current(base / stage / name, {maker: files[maker]}) and (
        maker == "train" or is_current(files[maker].parent, {"train": files["train"]})
    )


def fewest_images(examination: Examination) -> int:
    """The images that every check of an examination has looked at."""
    autoattack = examination.checks.autoattack
    return min(examination.images, autoattack.images if autoattack else examination.images)


def examination_of(base: Path, name: str) -> Examination | None:
    """What stage `audit` found on a cell; None if not on the network and ledger that are there."""
    ledger = {"evaluate": base / "evaluate" / name / LEDGER}
    current = is_of(base, "audit", name, EXAMINED) and is_current(base / "audit" / name, ledger)
    return Examination.read_if_there(base / "audit" / name / METRICS) if current else None
