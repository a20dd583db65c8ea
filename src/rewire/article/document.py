"""The article's stages: what each reads, writes and depends on."""

from __future__ import annotations

import re

from rewire.files import MANIFEST
from rewire.pipeline.document import (
    HISTORY,
    METRICS,
    NOISE,
    NOISES,
    RECORD,
    WEIGHTS,
    Document,
    Stage,
)

_DENSE = ("data", "network", "head", "trainer")
_NOISED = (*_DENSE, "noise")
_ON_NOISE = {"article_train": WEIGHTS, "article_noise": MANIFEST}
_NOISE_FILE = (f"article_noise/{{cell}}/{NOISE}",)
NAME = re.compile(r"(?P<base>[a-z0-9_]+-[a-z0-9]+)-seed(?P<seed>[0-9]+)(?:-(?P<rest>.+))?")
ARTICLE = Document(
    name="article",
    place=2,
    lists={"seed": "seeds"},
    axes=("network", "head", "seed", "profile"),
    base=lambda c: f"{c['network']['name']}-{c['head']['name']}-seed{c['seed']}",
    family=lambda c: f"{c['network']['name']}-{c['head']['name']}",
    names=NAME,
    network="network",
    kind=lambda c: c["network"]["name"],
    curves={"validation_accuracy": "validation accuracy, %", "train_loss": "training loss"},
    time="step",
    stages={
        "article_train": Stage(_DENSE, outs=(WEIGHTS, METRICS, HISTORY, *RECORD)),
        "article_noise": Stage(
            _NOISED,
            {"article_train": WEIGHTS},
            outs=(*NOISES.values(), "noise.png", METRICS, *RECORD),
        ),
        "article_curves": Stage(
            (*_NOISED, "curves"),
            _ON_NOISE,
            outs=("curves.csv", METRICS, *RECORD),
            reads=_NOISE_FILE,
            cells="pruned",
        ),
        "article_adaptive": Stage(
            (*_NOISED, "curves"),
            _ON_NOISE,
            outs=("vectors.safetensors", METRICS, *RECORD),
            reads=_NOISE_FILE,
            cells="pruned",
        ),
        "article_transfer": Stage(
            _NOISED,
            outs=(METRICS, *RECORD),
            reads=(
                f"article_train/{{cell}}/{WEIGHTS}",
                *(
                    f"article_noise/ann-{head}-seed${{item.seed}}/{name}"
                    for head in ("lq", "rq", "sce")
                    for name in (MANIFEST, *NOISES.values())
                ),
            ),
            cells="transfer",
        ),
        "article_decoupled": Stage(
            (*_NOISED, "decoupled"),
            _ON_NOISE,
            outs=(METRICS, "decoupled.png", *RECORD),
            reads=_NOISE_FILE,
            cells="decoupled",
        ),
        "article_tables": Stage(
            ("table", "published"),
            reads=(
                "article_train",
                "article_noise",
                "article_curves",
                "article_adaptive",
                "article_transfer",
                "article_decoupled",
            ),
            params=("article",),
            axes=(),
        ),
    },
)
