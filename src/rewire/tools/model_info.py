"""A robust network in RobustBench's form: one small JSON file."""

from __future__ import annotations

from typing import Any

from rewire.thesis.metrics import Evaluation
from rewire.tools.published_cell import Cell, attack_name, radius


def model_info(cell: Cell, evaluated: Evaluation) -> dict[str, Any]:
    """One robust network in the form of RobustBench's model_info, and what that form lacks.

    Accuracies are percent as text there. `reported` is that of the evaluation attack;
    `autoattack_acc` that of AutoAttack, null where that did not run.
    """
    clean, robust, attack = evaluated.trained.clean, evaluated.trained.robust, evaluated.attack
    auto = cell.autoattack
    structure = cell.trained.structure
    return {
        "link": None,
        "name": cell.name,
        "authors": "The rewire authors",
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": "cifar10",
        "venue": None,
        "architecture": cell.architecture,
        "threat_model": "Linf",
        "eps": radius(attack),
        "clean_acc": f"{clean.accuracy:.2f}",
        "clean_images": clean.total,
        "reported": f"{robust.accuracy:.2f}",
        "reported_attack": attack_name(attack),
        "reported_images": robust.total,
        "reported_interval": [f"{end:.2f}" for end in robust.interval],
        "autoattack_acc": f"{auto.accuracy:.2f}" if auto else None,
        "autoattack_images": auto.total if auto else None,
        "parameters": structure.size,
        "parameters_connected": structure.connected,
        "footnote": cell.note,
    }
