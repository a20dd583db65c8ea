"""What every configured value of the second document may be; see `validation_rules`."""

from __future__ import annotations

from rewire.config.rules import (
    ALL,
    CLASSES,
    COMMON,
    DEVICE,
    FLAG,
    POSITIVE,
    PRECISION,
    SHARE,
    SOME,
    TEXT,
    THREADS,
    Rule,
    Table,
    choice,
    count,
    either,
    image_data,
    items,
    named,
    optional,
    real,
    rows,
)

NETWORKS = ("ann", "ann_article", "cnn")
PHASES = rows(POSITIVE, count(1), of="[learning rate above 0, whole number of steps from 1]")
PAIRS = rows(
    count(0, CLASSES - 1),
    SOME,
    of="[class 0..9, limit above 0 and at most 1]",
    columns=("the target class of the noise", "the limit of the noise"),
)
METRICS = ("absolute", "activated", "mean_x", "random")
EVALUATIONS = items(choice("E1", "E2"), of="E1 (unclipped) and E2 (clipped)", at_least=1)
LOSS = choice("ce", "quadratic_linear", "quadratic_softmax")
OPTIMISER = choice("sgd", "sign", "adam")
NAMES = items(TEXT, of="names", at_least=1)
RATIOS = items(SOME, of="ratios above 0 and at most 1")
PRUNING = Rule(
    "a ratio from 0 to 1, or a mapping of layers to ratios",
    lambda value: (
        all(map(SHARE.fits, value.values())) if isinstance(value, dict) else SHARE.fits(value)
    ),
    read=SHARE.read,
)
SEGMENT = "[first ratio, last ratio, step] with 0 <= first <= last <= 1 and a positive step"
CURVE = {
    "metric": choice(*METRICS, "combined"),
    "matrices": optional(NAMES, "all hidden dense layers"),
    "grid": TEXT,
    "draws": count(1),
    "count": ALL,
    "fresh": FLAG,
    "offset": real(above=-1, at_most=1),
    "include_output": FLAG,
    "evaluations": EVALUATIONS,
    "images": ALL,
}
RUN = named(
    {"loss": LOSS, "optimiser": OPTIMISER, "lr": POSITIVE},
    of="{loss: ce | quadratic_linear | quadratic_softmax, optimiser: sgd | sign | adam, lr: > 0}",
)

TABLE: Table = {
    **COMMON,
    "data": image_data("mnist", optional_keys=""),
    "network": {
        "name": choice(*NETWORKS),
        "width": real(above=0, at_most=64),
        "dropout": choice("none", "unit", "dropconnect"),
    },
    "head": {
        "name": choice("lq", "rq", "sce"),
        "scale": choice("as_coded", "sum"),
        "l2": real(at_least=0),
    },
    "trainer": {
        "schedule": {"*": PHASES},
        "phases": PHASES,
        "batch_size": count(1),
        "precision": PRECISION,
        "device": DEVICE,
        "threads": THREADS,
        "checkpoint_every": count(0),
        "log_every": count(1),
    },
    "noise": {
        "name": TEXT,
        "list": {"*": PAIRS},
        "pairs": PAIRS,
        "steps": count(1),
        "batch_size": count(1),
        "lr": POSITIVE,
        "loss": LOSS,
        "optimiser": OPTIMISER,
        "precision": PRECISION,
        "vectors_per_pass": either(count(1), choice("auto")),
        "trainability": {
            "list": {"*": PAIRS},
            "pairs": PAIRS,
            "steps": count(1),
            "runs": items(RUN, of=RUN.allowed),
        },
    },
    "curves": {
        "name": TEXT,
        "common": CURVE,
        "list": {"*": {f"{key}?": rule for key, rule in CURVE.items()}},
        "grids": {"*": rows(SHARE, SHARE, SOME, of=SEGMENT)},
        "images": ALL,
        "step_factor": count(1),
        "keep": items(SHARE, of="ratios from 0 to 1"),
        "most_draws": optional(count(1), "all"),
        "points": {
            "evaluations": EVALUATIONS,
            "draws": count(1),
            "list": {"*": {f"{metric}?": PRUNING for metric in METRICS}},
        },
        "adaptive": items(TEXT, of="names of points"),
    },
    "decoupled": {
        "images": ALL,
        "metric_images": count(1),
        "column": TEXT,
        "every_column": FLAG,
        "batch_size": count(1),
        "ratios": {"absolute?": RATIOS, "activated?": RATIOS},
        "points": {"*": {"layers": NAMES, "ratios?": {"absolute?": RATIOS, "activated?": RATIOS}}},
        "cost": {
            "metric": choice("absolute", "activated"),
            "batch_sizes": items(count(1), of="whole numbers from 1"),
            "backends": items(choice("scipy", "torch"), of="scipy and torch"),
            "repeats": count(1),
        },
    },
}
