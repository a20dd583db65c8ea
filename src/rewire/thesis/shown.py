"""What may be shown of a cell: results of the network that is there, and of no other one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from rewire.files import read_json
from rewire.pipeline.cell import VARIANTS
from rewire.pipeline.document import LAST, LEDGER, METRICS, SELECTIONS, WEIGHTS
from rewire.pipeline.made import command_for, is_current, read_config

OF_EVALUATION = ("clean", "robust")  # measures that stage `evaluate` leaves
OF_TRAINING = ("clean", "selections", "structure")  # measures that a training leaves itself
EXAMINED = "trained"  # variant that stage `audit` examines


def results(base: Path, name: str, profile: str) -> Iterator[dict[str, Any]]:
    """One result per variant of a finished cell, in the form that `build_table` takes."""
    training = base / "train" / name
    try:
        config = read_config(training)
    except OSError:
        return
    trained = measured(training)
    examination = examination_of(base, name)
    for variant in VARIANTS:
        evaluation = derived(base, "evaluate", name, variant)
        structure = derived(base, "structure", name, variant)
        metrics = dict(evaluation or {})
        stages = dict.fromkeys(metrics, "evaluate")
        if structure:
            metrics["structure"], stages["structure"] = structure, "structure"
        outdated: dict[str, str] = {}
        if evaluation is None:
            again = command_for(base / "evaluate" / name)
            outdated |= dict.fromkeys(OF_EVALUATION, again)
        if structure is None:
            outdated["structure"] = command_for(base / "structure" / name)
        if variant == EXAMINED:
            # What a training says of itself stands until later stages have run.
            own = {key: trained[key] for key in OF_TRAINING if key in trained}
            metrics, stages = own | metrics, dict.fromkeys(own, "train") | stages
        yield {
            "folder": name,
            "stages": stages,  # which one measured each metric
            "cell": name.replace(f"-seed{config['seed']}", "", 1),
            "sparsity": config["sparsity"],
            "objective": config["objective"]["name"],
            "rewire": config["rewire"]["name"],
            "seed": config["seed"],
            "variant": variant,
            "profile": profile,
            "metrics": metrics,
            "outdated": outdated,
            "flags": examination.get("flags") if variant == EXAMINED else None,
            "examined": fewest_images(examination) if variant == EXAMINED else None,
        }


def derived(base: Path, stage: str, name: str, variant: str) -> dict[str, Any] | None:
    """What a stage measured on a variant of a cell's network, empty if it has not run.

    None if that was another network than the one that is there.
    """
    found = measured(base / stage / name)
    if not found:
        return {}
    return found.get(variant, {}) if is_of(base, stage, name, variant) else None


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


def fewest_images(examination: Mapping[str, Any]) -> int | None:
    """The images that every check of an examination has looked at; None without an examination."""
    autoattack = examination.get("checks", {}).get("autoattack", {})
    counts = [found["images"] for found in (examination, autoattack) if "images" in found]
    return min(counts, default=None)


def measured(folder: Path) -> dict[str, Any]:
    """Metrics of a cell's stage; empty if it has not run."""
    path = folder / METRICS
    return read_json(path) if path.is_file() else {}


def examination_of(base: Path, name: str) -> dict[str, Any]:
    """What stage `audit` found on a cell; empty if not on the network and ledger that are there."""
    ledger = {"evaluate": base / "evaluate" / name / LEDGER}
    current = is_of(base, "audit", name, EXAMINED) and is_current(base / "audit" / name, ledger)
    return measured(base / "audit" / name) if current else {}
