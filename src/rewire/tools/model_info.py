"""A robust network in RobustBench's form: one small JSON file."""

from __future__ import annotations

from typing import Any

from rewire.evaluation.statistics import wilson_interval
from rewire.thesis.shown import EXAMINED
from rewire.tools.published_cell import Cell, accuracy, attack_name, radius


def model_info(cell: Cell) -> dict[str, Any]:
    """One robust network in the form of RobustBench's model_info, and what that form lacks.

    Accuracies are percent as text there. `reported` is that of the evaluation attack;
    `autoattack_acc` that of AutoAttack, null where that did not run.
    """
    measured, attack = cell.evaluated[EXAMINED], cell.evaluated["attack"]
    robust, clean = measured["robust"], measured["clean"]
    auto = {"correct": robust["correct"], "images": robust["total"]}
    if attack["name"] != "autoattack":
        auto = ((cell.audit or {}).get("checks") or {}).get("autoattack")
    structure = cell.trained["structure"]
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
        "eps": radius(cell),
        "clean_acc": f"{accuracy(measured):.2f}",
        "clean_images": clean["total"],
        "reported": f"{accuracy(measured, 'robust'):.2f}",
        "reported_attack": attack_name(cell),
        "reported_images": robust["total"],
        "reported_interval": [
            f"{100 * end:.2f}" for end in wilson_interval(robust["correct"], robust["total"])
        ],
        "autoattack_acc": f"{100 * auto['correct'] / auto['images']:.2f}" if auto else None,
        "autoattack_images": auto["images"] if auto else None,
        "parameters": structure["size"],
        "parameters_connected": structure["connected"],
        "footnote": cell.note,
    }
