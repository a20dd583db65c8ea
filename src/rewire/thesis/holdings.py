"""What the folder of a profile holds of the thesis: finished cells, their tables and scale."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewire.pipeline import profiles
from rewire.pipeline.document import METRICS
from rewire.pipeline.foreign import PREFIX
from rewire.pipeline.made import read_config
from rewire.pipeline.paths import CONF
from rewire.provenance import PROVENANCE, Provenance
from rewire.reporting.table_spec import TableSpec
from rewire.thesis.document import THESIS
from rewire.thesis.metrics import Evaluation, Training
from rewire.thesis.shown import EXAMINED, Result, is_of

REWIRE = ("random", "l2", "weighted", "vector", "gathered")  # order of strategies; others follow
STANDARD = re.compile(r"(.+-s[0-9.]+)-([a-z0-9_]+)-seed([0-9]+)")  # a standard cell, no variant


def finished(source: Path, stage: str) -> list[str]:
    """Trained cells that a stage has finished, in the order of tables; no foreign networks."""

    def order(name: str) -> tuple:
        match = STANDARD.fullmatch(name)
        place = REWIRE.index(match[2]) if match and match[2] in REWIRE else len(REWIRE)
        return match is None, match[1] if match else name, place, name

    own = (name for name in profiles.finished(source, stage) if not name.startswith(PREFIX))
    return sorted(own, key=order)


def axes_of(names: Sequence[str]) -> dict[str, list]:
    """Cells, strategies and seeds of the standard cells among `names`, as in params.yaml."""
    found = [match for name in names if (match := STANDARD.fullmatch(name)) and match[2] in REWIRE]
    return {
        "cells": sorted({match[1] for match in found}),
        "rewire": [rewire for rewire in REWIRE if any(match[2] == rewire for match in found)],
        "seeds": sorted({int(match[3]) for match in found}) or [0],
    }


def specifications() -> list[Path]:
    """All tables: the thesis's own, those beside them, then those of variants and baselines."""
    folder = CONF / THESIS.name / "table"
    own = sorted(folder.glob("thesis_table*.yaml"))
    beside = sorted(set(folder.glob("thesis_*.yaml")) - set(own))
    return [*own, *beside, *sorted((folder / "variants").glob("*.yaml"))]


def shown_in(spec: TableSpec, rows: Mapping[str, Sequence[Result]]) -> list[Result]:
    """Of the results of every cell, `rows`, those that a table is about.

    Tables that name no cells are about the standard ones: a variant has the same axes.
    """
    chosen = [name for name in rows if spec.axis == "cell" or STANDARD.fullmatch(name)]
    return [row for name in chosen for row in rows[name]]


def overview(source: Path, name: str) -> dict[str, Any]:
    """One row about one cell: its scale and its main numbers."""
    training = source / "train" / name
    config, trained = read_config(training), Training.read(training / METRICS)
    made_by = Provenance.read_if_there(training / PROVENANCE)  # the pipeline does not keep it
    evaluation = Evaluation.read_if_there(source / "evaluate" / name / METRICS)
    current = evaluation and is_of(source, "evaluate", name, EXAMINED)
    robust = evaluation.trained.robust if evaluation and current else None
    return {
        "cell": name,
        "epochs": config["trainer"]["epochs"],
        "connected": trained.connected,
        "clean %": trained.clean.accuracy,
        "robust %": robust and robust.accuracy,
        "attacked": robust and robust.total,
        "zero vectors %": trained.structure.zero_vectors.percent,
        "growth / K": trained.growth / trained.budget,
        "training, s": made_by.seconds if made_by else None,
    }
