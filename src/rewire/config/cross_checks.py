"""Rules over several configured values at once; read without importing torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from rewire.pipeline.document import LAST
from rewire.pipeline.documents import document_of
from rewire.pipeline.foreign import foreign_of

# Training and test images by (data set, embedded or official).
SIZES = {
    ("cifar10", "embedded"): (5000, 1000),
    ("cifar10", "official"): (50_000, 10_000),
    ("mnist", "embedded"): (10_000, 2000),
    ("mnist", "official"): (60_000, 10_000),
}
# Classes, and pixels along one side, of the thesis's images.
SHAPES = {"cifar10": (10, 32)}
# Options that count images of a split: group, option, split.
COUNTED = (
    ("trainer", "batch_size", "training"),
    ("attack", "images", "test"),
    ("noise", "batch_size", "training"),
    ("curves", "images", "test"),
    ("decoupled", "images", "test"),
    ("decoupled", "metric_images", "training"),
)
CONVOLUTIONAL = ("cnn",)


def conflicts(config: Mapping[str, Any], stage: str, groups: tuple[str, ...]) -> Iterator[str]:
    """What is wrong between values that are right by themselves.

    Args:
        config: plain, and without a problem of its own.
        stage: what is to run.
        groups: configuration groups that take part in its result.
    """
    if (network := foreign_of(config)) and not document_of(stage).stages[stage].foreign:
        stages = [name for name, s in document_of(stage).stages.items() if s.foreign]
        yield (
            f"network is '{network}'. Allowed for the stage {stage}: null; one is taken by "
            f"{', '.join(stages)}."
        )
    if network and (epochs := config["prune"]["finetune"]["epochs"]):
        yield (
            f"prune.finetune.epochs is {epochs}. Allowed for a network from elsewhere: 0; how it "
            "was trained is not known."
        )
    yield from _images(config, groups)
    yield from _shape(config)
    yield from _sparsity(config)
    if config.get("selection", LAST) not in (LAST, *config["trainer"].get("selections", ())):
        kept = ", ".join([LAST, *config["trainer"]["selections"]])
        yield (
            f"selection is '{config['selection']}', which trainer.selections does not keep. "
            f"Allowed: {kept}."
        )
    if "audit" in groups:
        yield from _audit(config)
    if stage == "article_decoupled" and config["network"]["name"] not in CONVOLUTIONAL:
        yield (
            f"network '{config['network']['name']}' has no convolutions to decouple. "
            f"Allowed: {', '.join(CONVOLUTIONAL)}."
        )
    curves = config.get("curves")
    if curves and "curves" in groups:
        for name, curve in curves["list"].items():
            grid = curve.get("grid", curves["common"]["grid"])
            if grid not in curves["grids"]:
                yield (
                    f"curves.list.{name} has the grid '{grid}'. "
                    f"Allowed: {', '.join(curves['grids'])}."
                )
        for name in curves["adaptive"]:
            if name not in curves["points"]["list"]:
                yield (
                    f"curves.adaptive names '{name}'. "
                    f"Allowed: {', '.join(curves['points']['list'])}."
                )


def _sparsity(config: Mapping[str, Any]) -> Iterator[str]:
    """Sparsity 0 is what `rewire=dense` means, and nothing else does."""
    rewire = config.get("rewire")
    if rewire and (config["sparsity"] == 0) != (rewire["name"] == "dense"):
        allowed = "0" if rewire["name"] == "dense" else "above 0 and below 1, e.g. 0.99"
        yield (
            f"sparsity {config['sparsity']} does not fit rewire '{rewire['name']}'. "
            f"Allowed for it: {allowed}."
        )


def _audit(config: Mapping[str, Any]) -> Iterator[str]:
    """What the sanity checks of a robust accuracy cannot do."""
    if config["attack"]["name"] != "pgd":
        yield f"attack.name is '{config['attack']['name']}'. Allowed for the stage audit: pgd."
    for option in ("epsilons", "step_sweep"):
        values = config["audit"][option]
        if any(later <= earlier for earlier, later in pairwise(values)):
            yield f"audit.{option} is {values}. Allowed: rising numbers."


def _images(config: Mapping[str, Any], groups: tuple[str, ...]) -> Iterator[str]:
    """More images asked for than there are."""
    data = config["data"]
    kind = "embedded" if data["source"] == "embedded" else "official"
    if (data.get("dataset", "cifar10"), kind) not in SIZES:
        return  # of a data set of one's own: what loads it knows
    total, test = SIZES[data.get("dataset", "cifar10"), kind]
    held_out = data["validation_size"]
    if held_out >= total:
        yield (
            f"data.validation_size is {held_out}. "
            f"Allowed: 0 to {total - 1}, for there are {total:,} {kind} training images."
        )
        return
    left = total - held_out
    sizes = {"training": left, "test": test}
    for option, split in (("train_size", "training"), ("test_size", "test")):
        size = data[option]
        if size is not None and size > sizes[split]:
            held = f" ({held_out:,} of {total:,} are held out)" if split == "training" else ""
            yield (
                f"data.{option} is {size}. Allowed: 1 to {sizes[split]}, or null: there are "
                f"{sizes[split]:,} {kind} {split} images{held}."
            )
            size = None
        sizes[split] = size or sizes[split]
    for group, option, split in COUNTED:
        value = config[group][option] if group in groups else None
        if value is not None and value > sizes[split]:
            yield (
                f"{group}.{option} is {value}. Allowed: 1 to {sizes[split]}: there are "
                f"{sizes[split]:,} {split} images."
            )


def _shape(config: Mapping[str, Any]) -> Iterator[str]:
    """A network for other images than there are."""
    known = SHAPES.get(config["data"].get("dataset", "cifar10"))
    if known is None or "model" not in config:
        return
    classes, pixels = known
    if config["model"]["classes"] < classes:
        yield (
            f"model.classes is {config['model']['classes']}. Allowed: from {classes}, as many as "
            "the images have."
        )
    if config["model"]["image_size"] != pixels:
        yield f"model.image_size is {config['model']['image_size']}. Allowed: {pixels}."


def remarks(config: Mapping[str, Any], stage: str) -> Iterator[str]:
    """What is allowed and probably not meant; takes what `conflicts` takes."""
    trained = config.get("objective", {}).get("epsilon")
    if (
        stage in ("evaluate", "audit")
        and trained is not None
        and trained != config["attack"]["epsilon"]
    ):
        yield (
            f"attack.epsilon {config['attack']['epsilon']:.6g} differs from objective.epsilon "
            f"{trained:.6g}: judged under another budget than trained for"
        )
    threads, cores = config["trainer"]["threads"], os.cpu_count() or 1
    if threads is not None and threads > cores:
        yield f"trainer.threads is {threads}, more than the {cores} cores of this machine: slower"
