"""What every configured value of the thesis may be; see `rules`."""

from __future__ import annotations

from dataclasses import replace

from rewire.config.rules import (
    ALL,
    BEST,
    CLASSES,
    COMMON,
    DEVICE,
    FLAG,
    NAME,
    NO_SPARSITY,
    PATH,
    POSITIVE,
    PRECISION,
    SHARE,
    SOME,
    THREADS,
    Table,
    choice,
    count,
    either,
    image_data,
    items,
    optional,
    real,
)
from rewire.numbers import as_it_is
from rewire.pipeline.document import SELECTIONS

TABLE: Table = {
    **COMMON,
    "profile": {**COMMON["profile"], "thin?": {"*": SOME}},
    "sparsity": either(real(above=0, below=1, example=", e.g. 0.99"), NO_SPARSITY),
    "selection": choice(*SELECTIONS),
    "network": optional(PATH, "the trained one"),
    "data": image_data("cifar10", optional_keys="?"),
    "model": {
        "name": choice("vgg11", "vgg16", "resnet18"),
        "width": real(above=0, at_most=16),
        "classes": count(CLASSES, 10_000),
        "image_size": choice(32),
        "p_init_first": items(SHARE, of="numbers from 0 to 1"),
        "p_init_last": items(SHARE, of="numbers from 0 to 1"),
        "p_init_factor": real(at_least=0),
    },
    "objective": {
        "name": choice("natural", "trades", "at", "mat", "mart"),
        "epsilon?": SOME,
        "step_size?": POSITIVE,
        "steps?": count(1),
        "beta?": POSITIVE,
    },
    "rewire": {
        "name": choice("random", "l2", "weighted", "vector", "static", "dense"),
        "metric": choice("euclidean", "eq3"),
        "ties": choice("random", "first", "same_vector"),
        "gamma": real(at_least=0, at_most=10),
    },
    "trainer": {
        "epochs": count(1),
        "batch_size": count(1),
        "lr": POSITIVE,
        "momentum": real(at_least=0, below=1),
        "weight_decay": real(at_least=0, below=1),
        "precision": PRECISION,
        "device": DEVICE,
        "threads": THREADS,
        "checkpoint_every": count(0),
        "engine": choice("auto", "sparse", "dense"),
        "log_every": count(1),
        "check": FLAG,
        "selections": items(choice(*BEST), of=" and ".join(BEST)),
    },
    "prune": {
        "name": choice("lonely"),
        "layers": choice("all", "inner"),
        "reestimate_batchnorm": FLAG,
    },
    "attack": {
        "name": choice("pgd", "autoattack"),
        "epsilon": SOME,
        "steps": count(1),
        "restarts": count(1),
        "batch_size": optional(count(1), "the machine's choice"),
        "images": ALL,
        "step_size?": optional(POSITIVE, "2.5 epsilon / steps"),
        "check_every?": optional(count(1), "the machine's choice"),
        "first_pass_steps?": optional(count(1), "none"),
        "queries?": count(1),
    },
    "audit": {
        "name": choice("standard"),
        "images": ALL,
        "tolerance": real(at_least=0, at_most=100),
        "zero_gradients": real(at_least=0, at_most=100),
        "steps": count(1),
        "epsilons": items(
            replace(real(at_least=0, at_most=255), read=as_it_is),
            of="numbers from 0 to 255",
            at_least=1,
        ),  # in 1/255 already
        "step_sweep": items(count(1), of="whole numbers from 1", at_least=1),
        "noise_draws": count(1),
        "transfer_from": items(NAME, of="rewiring strategies"),
        "transfer_seed": optional(count(0, 2**63 - 1), "another strategy of the same seed"),
        "straight_through": {
            "leaks": items(SOME, of="numbers above 0 and at most 1", at_least=1),
            "dormant": SHARE,
        },
        "autoattack": {"images": count(0), "steps": count(1), "queries": count(1)},
    },
}
