"""The documents and their stages: what each reads, writes and depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rewire.files import MANIFEST

WEIGHTS, METRICS, HISTORY = "weights.safetensors", "metrics.json", "history.csv"
LAST = "last"
# Epoch that counts → file of the network that a training leaves of it (`training.selection`).
SELECTIONS = {
    LAST: WEIGHTS,
    "best_validation": "best_validation.safetensors",
    "best_test": "best_test.safetensors",
}
CONFIG = "config.yaml"  # what decided a result, as the manifest vouches for it
RECORD = (CONFIG, MANIFEST)
SURROGATES = "surrogates.json"
LEDGER = "trained.npz"  # per image, of the trained network: what stage `audit` reads
NOISE = "noise_G1.safetensors"  # what most stages of the second document read


def clean_ledger(variant: str) -> str:
    """File of a variant's verdicts on all test images; VARIANT.npz has the attacked ones alone."""
    return f"{variant}_clean.npz"


@dataclass(frozen=True)
class Stage:
    """What decides a stage's result, and what it leaves; `dvc.yaml` is written from it.

    Its code is what `rewire.stages.NAME` imports (`rewire.sources`).

    Attributes:
        groups: configuration groups that take part, directly or through earlier stages.
        inputs: earlier stage → the file of the same cell that is read from it.
        outs: what it writes into its folder and the pipeline keeps.
        reads: what else it reads below OUTPUT/PROFILE; `{cell}` is its own cell, `${item...}` a
            value of its axes.
        params: keys of `params.yaml` that it reads.
        cells: the list in `params.yaml` of the cells that the pipeline runs.
        axes: what varies in the pipeline, of `Document.lists`; None for all.
    """

    groups: tuple[str, ...]
    inputs: Mapping[str, str] = field(default_factory=dict)
    outs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    cells: str = "cells"
    axes: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)  # there is one of each
class Document:
    """The stages of one document and the names of its cells.

    Attributes:
        name: of its part in `params.yaml`.
        lists: axis of the pipeline → list in that part; the cells are those of each stage.
        conf: folder of its root configuration, below `conf`.
        axes: configuration keys that are in a cell's name anyway.
        base: name of a cell's standard variant from a composed configuration.
        family: runs that are compared with each other when tracked.
        stages: by name.
        scales: keys of a profile's own section that other options refer to.
    """

    name: str
    lists: Mapping[str, str]
    conf: str
    axes: tuple[str, ...]
    base: Callable[[Mapping[str, Any]], str]
    family: Callable[[Mapping[str, Any]], str]
    stages: Mapping[str, Stage]
    scales: tuple[str, ...] = ()

    @property
    def with_results(self) -> tuple[str, ...]:
        """The stages that leave a result, with its manifest, for every cell."""
        return tuple(name for name, stage in self.stages.items() if MANIFEST in stage.outs)


_SPARSE = ("data", "model", "objective", "rewire", "trainer")
_PRUNED = (*_SPARSE, "selection", "prune")
THESIS = Document(
    name="thesis",
    lists={"rewire": "rewire", "seed": "seeds"},
    conf=".",
    axes=("sparsity", "objective", "rewire", "seed", "profile"),
    base=lambda c: (
        f"{c['objective']['name']}-s{c['sparsity']}-{c['rewire']['name']}-seed{c['seed']}"
    ),
    family=lambda c: f"{c['objective']['name']}-s{c['sparsity']}",
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
_DENSE = ("data", "network", "head", "trainer")
_NOISED = (*_DENSE, "noise")
_ON_NOISE = {"blog_train": WEIGHTS, "blog_noise": MANIFEST}
_NOISE_FILE = (f"blog_noise/{{cell}}/{NOISE}",)
BLOG = Document(
    name="blog",
    lists={"seed": "seeds"},
    conf="blog",
    axes=("network", "head", "seed", "profile"),
    base=lambda c: f"{c['network']['name']}-{c['head']['name']}-seed{c['seed']}",
    family=lambda c: f"{c['network']['name']}-{c['head']['name']}",
    stages={
        "blog_train": Stage(_DENSE, outs=(WEIGHTS, METRICS, HISTORY, *RECORD)),
        "blog_noise": Stage(
            _NOISED,
            {"blog_train": WEIGHTS},
            outs=(NOISE, "noise_G2.safetensors", "noise.png", METRICS, *RECORD),
        ),
        "blog_curves": Stage(
            (*_NOISED, "curves"),
            _ON_NOISE,
            outs=("curves.csv", METRICS, *RECORD),
            reads=_NOISE_FILE,
            cells="pruned",
        ),
        "blog_adaptive": Stage(
            (*_NOISED, "curves"),
            _ON_NOISE,
            outs=("vectors.safetensors", METRICS, *RECORD),
            reads=_NOISE_FILE,
            cells="pruned",
        ),
        "blog_transfer": Stage(
            _NOISED,
            outs=(METRICS, *RECORD),
            reads=(
                f"blog_train/{{cell}}/{WEIGHTS}",
                *(
                    f"blog_noise/ann-{head}-seed${{item.seed}}/{name}"
                    for head in ("lq", "rq", "sce")
                    for name in (MANIFEST, NOISE)
                ),
            ),
            cells="transfer",
        ),
        "blog_decoupled": Stage(
            (*_NOISED, "decoupled"),
            _ON_NOISE,
            outs=(METRICS, "decoupled.png", *RECORD),
            reads=_NOISE_FILE,
            cells="decoupled",
        ),
        "blog_tables": Stage(
            ("table", "published"),
            reads=(
                "blog_train",
                "blog_noise",
                "blog_curves",
                "blog_adaptive",
                "blog_transfer",
                "blog_decoupled",
            ),
            params=("blog",),
            axes=(),
        ),
    },
)
DOCUMENTS = (THESIS, BLOG)


def document_of(stage: str) -> Document:
    """The document whose stage this is."""
    (document,) = (document for document in DOCUMENTS if stage in document.stages)
    return document
