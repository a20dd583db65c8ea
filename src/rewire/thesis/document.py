"""The thesis's stages: what each reads, writes and depends on."""

from __future__ import annotations

import re

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

_SPARSE = ("data", "model", "objective", "rewire", "trainer")
_PRUNED = (*_SPARSE, "selection", "prune")
NAME = re.compile(r"(?P<base>.+?)-(?P<rewire>[a-z0-9_]+)-seed(?P<seed>[0-9]+)(?:-(?P<rest>.+))?")
THESIS = Document(
    name="thesis",
    place=1,
    lists={"rewire": "rewire", "seed": "seeds"},
    axes=("sparsity", "objective", "rewire", "seed", "profile"),
    base=lambda c: (
        f"{c['objective']['name']}-s{c['sparsity']}-{c['rewire']['name']}-seed{c['seed']}"
    ),
    family=lambda c: f"{c['objective']['name']}-s{c['sparsity']}",
    names=NAME,
    network="model",
    kind=lambda c: c["objective"]["name"],
    scales=("epochs", "thin"),
    stages={
        "train": Stage(_SPARSE, outs=(*SELECTIONS.values(), METRICS, HISTORY, *RECORD)),
        "prune": Stage(_PRUNED, {"train": WEIGHTS}, outs=(WEIGHTS, METRICS, *RECORD)),
        "evaluate": Stage(
            (*_PRUNED, "attack"),
            {"train": WEIGHTS, "prune": WEIGHTS},
            outs=(
                *(METRICS, LEDGER, "pruned.npz"),
                *(clean_ledger(variant) for variant in ("trained", "pruned")),
                *RECORD,
            ),
        ),
        "structure": Stage(
            _PRUNED,
            {"train": WEIGHTS, "prune": WEIGHTS},
            outs=(METRICS, "trained.png", "pruned.png", *RECORD),
            reads=(f"train/{{cell}}/{METRICS}",),
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
