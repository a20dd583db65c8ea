"""The thesis's stages: what each reads, writes and depends on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rewire.pipeline.document import (
    HISTORY,
    LEDGER,
    METRICS,
    RECORD,
    SELECTIONS,
    SURROGATES,
    WEIGHTS,
    Document,
    Stage,
    clean_ledger,
)
from rewire.pipeline.foreign import foreign_cell, foreign_of

_SPARSE = ("data", "model", "objective", "rewire", "trainer")
_PRUNED = (*_SPARSE, "selection", "prune")
NAME = re.compile(r"(?P<base>.+?)-(?P<rewire>[a-z0-9_]+)-seed(?P<seed>[0-9]+)(?:-(?P<rest>.+))?")
_FOREIGN = ("data", "model", "prune")


def _base(config: Mapping[str, Any]) -> str:
    if foreign := foreign_of(config):
        return foreign_cell(foreign)
    return f"{_family(config)}-{config['rewire']['name']}-seed{config['seed']}"


def _family(config: Mapping[str, Any]) -> str:
    if foreign_of(config):
        return "foreign"
    return f"{config['objective']['name']}-s{config['sparsity']}"


THESIS = Document(
    name="thesis",
    place=1,
    lists={"rewire": "rewire", "seed": "seeds"},
    axes=("sparsity", "objective", "rewire", "seed", "profile"),
    base=_base,
    family=_family,
    names=NAME,
    network="model",
    kind=lambda c: c["objective"]["name"],
    curves={
        "validation_accuracy": "validation accuracy, %",
        "train_loss": "training loss",
        "zero_vectors": "zero vectors, %",
        "births": "growth per epoch, weights",
    },
    time="epoch",
    scales=("epochs", "thin"),
    stages={
        "train": Stage(_SPARSE, outs=(*SELECTIONS.values(), METRICS, HISTORY, *RECORD)),
        "prune": Stage(
            _PRUNED, {"train": WEIGHTS}, outs=(WEIGHTS, METRICS, *RECORD), foreign=_FOREIGN
        ),
        "evaluate": Stage(
            (*_PRUNED, "attack"),
            {"train": WEIGHTS, "prune": WEIGHTS},
            outs=(
                *(METRICS, LEDGER, "pruned.npz"),
                *(clean_ledger(variant) for variant in ("trained", "pruned")),
                *RECORD,
            ),
            foreign=(*_FOREIGN, "attack"),
        ),
        "structure": Stage(
            _PRUNED,
            {"train": WEIGHTS, "prune": WEIGHTS},
            outs=(METRICS, "trained.png", "pruned.png", *RECORD),
            reads=(f"train/{{cell}}/{METRICS}",),
            foreign=_FOREIGN,
        ),
        # Which networks there are for the audit to transfer from, as few lines: it must neither
        # name one that is not listed nor depend on all that was ever trained.
        "surrogates": Stage(
            ("selection", "audit"),
            outs=(SURROGATES,),
            reads=("train",),
            params=("thesis.rewire",),
            cells="audited",
            axes=("cell", "seed"),
        ),
        "audit": Stage(
            (*_PRUNED, "attack", "audit"),
            {"train": WEIGHTS, "evaluate": LEDGER},
            outs=(METRICS, "curves.png", *RECORD),
            reads=(
                f"evaluate/{{cell}}/{METRICS}",
                f"surrogates/${{item.cell}}-seed${{item.seed}}/{SURROGATES}",
            ),
            cells="audited",
        ),
        "tables": Stage(
            ("table",),
            reads=("train", "evaluate", "structure", "audit"),
            params=("thesis",),
            axes=(),
        ),
    },
)
