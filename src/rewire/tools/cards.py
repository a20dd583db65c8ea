"""What a published network says of itself: a model card, made from the files of its cell alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rewire.config.cross_checks import SIZES
from rewire.files import WEIGHTS, write_json, write_text
from rewire.reporting.text_tables import markdown_table
from rewire.structure.report import StructureReport
from rewire.thesis.metrics import Training, Withstood
from rewire.tools.model_info import model_info
from rewire.tools.published_cell import Cell, attack_name, radius, read_cell

CARD, ROBUST = "README.md", "model_info.json"
DATA = "CIFAR-10 (Krizhevsky, 2009)"


def write_cards(folder: Path, note: str) -> list[Path]:
    """Write the card of every network in a folder of published results; returns the files.

    Args:
        folder: with cells/CELL/weights.safetensors and what was measured of it.
        note: the scale in words.
    """
    written = []
    for weights in sorted(folder.glob(f"cells/*/{WEIGHTS}")):
        cell = read_cell(weights.parent, note)
        written.append(weights.with_name(CARD))
        write_text(written[-1], card(cell))
        if cell.adversarial and cell.evaluated:
            written.append(weights.with_name(ROBUST))
            write_json(written[-1], model_info(cell, cell.evaluated))
    return written


def card(cell: Cell) -> str:
    """The model card: Markdown below the front matter of model hubs."""
    front = yaml.safe_dump(front_matter(cell), sort_keys=False, allow_unicode=True)
    sections = {
        "Load": LOAD.format(name=cell.name),
        "Numbers": markdown_table(list(numbers(cell))) + "\n" + INTERVALS,
        "Attack": attack_section(cell),
        "Data": data_section(cell),
        "Training": training_section(cell),
        "Limits": "".join(f"- {limit}\n" for limit in limits(cell)),
        "Licence": LICENCE,
    }
    parts = [f"---\n{front}---\n", f"# {cell.name}\n", f"{summary(cell)}\n"]
    parts += [f"## {title}\n\n{text.rstrip()}\n" for title, text in sections.items() if text]
    return "\n".join(parts)


LOAD = """\
With the `rewire` package of this repository, from the folder above this one:

```python
import rewire

network = rewire.load("{name}")
logits = network(images)  # float images (B, 3, 32, 32) in [0, 1], not normalised → (B, 10)
```

`rewire export {name} --format onnx` (or `torch`, `state_dict`) writes it for programs without
the package."""
INTERVALS = """\
Intervals are 95 % (Wilson) over the test images of this one network, not over trainings. Zero
vectors are input positions of a layer that no connected weight leaves; all were counted."""
LICENCE = """\
MIT, as the code. The images that it was trained on are not part of it and come without a licence
of their own: A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009."""


def front_matter(cell: Cell) -> dict[str, Any]:
    """Metadata as model hubs read it."""
    found = [{"name": "clean accuracy", "type": "accuracy", "value": cell.trained.clean.accuracy}]
    if cell.evaluated:
        robust = cell.evaluated.trained.robust.accuracy
        name = f"robust accuracy ({attack_name(cell.evaluated.attack)})"
        found.append({"name": name, "type": "accuracy", "value": robust})
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": "CIFAR-10", "type": "cifar10", "split": "test"},
        "metrics": found,
    }
    model, rewire = cell.config["model"]["name"], cell.config["rewire"]["name"]
    return {
        "license": "mit",
        "library_name": "rewire",
        "pipeline_tag": "image-classification",
        "datasets": ["cifar10"],
        "metrics": ["accuracy"],
        "tags": [model, "sparse", f"rewiring-{rewire}", cell.config["objective"]["name"]],
        "model-index": [{"name": cell.name, "results": [result]}],
    }


def summary(cell: Cell) -> str:
    structure, objective = cell.trained.structure, cell.config["objective"]["name"]
    how = "without an adversary" if not cell.adversarial else f"against an adversary ({objective})"
    return (
        f"A {cell.architecture} for CIFAR-10 with {structure.connected:,} of "
        f"{structure.size:,} weights connected ({structure.density_percent:.3g} %), trained "
        f"{how}; re-wiring `{cell.config['rewire']['name']}`. The network is that of the last "
        "epoch, before pruning."
    )


def numbers(cell: Cell) -> Iterator[dict[str, Any]]:
    """Rows of the table: what was measured, on how much, with its interval."""
    trained, evaluated, structure = cell.trained, cell.evaluated, cell.structure
    words = "as trained"
    yield from accuracies(words, (evaluated and evaluated.trained) or trained)
    yield zero_vectors(words, (structure and structure.trained) or trained.structure)
    words = "lonely weights pruned"
    if evaluated and evaluated.pruned:
        yield from accuracies(words, evaluated.pruned)
    if structure and structure.pruned:
        yield zero_vectors(words, structure.pruned)


def accuracies(network: str, measured: Withstood | Training) -> Iterator[dict[str, Any]]:
    for kind in ("clean", "robust"):
        if found := getattr(measured, kind, None):
            low, high = found.interval
            yield {
                "network": network,
                "measure": f"{kind} accuracy",
                "value": f"{found.accuracy:.2f} %",
                "95 % interval": f"[{low:.2f}, {high:.2f}]",
                "of": f"{found.total:,} test images",
            }


def zero_vectors(network: str, report: StructureReport) -> dict[str, Any]:
    zero = report.zero_vectors
    return {
        "network": network,
        "measure": "zero vectors",
        "value": f"{zero.percent:.3f} %",
        "95 % interval": "exact",
        "of": f"{zero.total:,} vectors",
    }


def attack_section(cell: Cell) -> str:
    if not cell.evaluated:
        return "It was not attacked."
    robust, attack = cell.evaluated.trained.robust, cell.evaluated.attack
    everything = robust.total == cell.trained.clean.total
    which = "all" if everything else "the first of every class"
    text = (
        f"{attack_name(attack)}, L∞ ball of radius {radius(attack)}, on {robust.total:,} test "
        f"images ({which}), worst case per image over all iterates and restarts, judged in "
        f"float32: {robust.correct:,} stay correct."
    )
    if cell.stronger:
        auto, (low, high) = cell.stronger.trained.robust, cell.stronger.trained.robust.interval
        text += (
            f" AutoAttack leaves {auto.accuracy:.2f} % [{low:.2f}, {high:.2f}] of {auto.total:,} "
            "images correct."
        )
    if not cell.audit:
        return text + " The attack itself was not examined on this network."
    text += f"\n\nThe attack was examined on {cell.audit.images:,} of them: "
    reasons = "; ".join(flag.reason for flag in cell.audit.flags)
    text += f"{reasons}." if reasons else "no sanity check raised a flag."
    if stronger := cell.audit.checks.autoattack:
        text += (
            f" AutoAttack leaves {stronger.correct} of {stronger.images} images correct "
            f"where this attack leaves {stronger.reported}."
        )
    return text


def data_section(cell: Cell) -> str:
    data = cell.config["data"]
    kind = "embedded" if data["source"] == "embedded" else "official"
    training, test = SIZES["cifar10", kind]
    left = data["train_size"] or training - data["validation_size"]
    part = " (the subset that comes with the package)" if kind == "embedded" else ""
    return (
        f"{DATA}{part}: {left:,} training images, {data['validation_size']:,} held out, "
        f"{data['test_size'] or test:,} test images; 32×32 RGB in [0, 1], ten classes. "
        f"Augmentation: {data['augmentation']}."
    )


def training_section(cell: Cell) -> str:
    trainer, objective = cell.config["trainer"], cell.config["objective"]
    options = [
        f"{key} {255 * value:.4g}/255" if key in ("epsilon", "step_size") else f"{key} {value:g}"
        for key, value in objective.items()
        if key != "name" and isinstance(value, int | float)
    ]
    more = f" ({', '.join(options)})" if options else ""
    growth, budget = cell.trained.growth, cell.trained.budget
    rewired = (
        f"Every connection was replaced {growth / budget:.3g} times on average."
        if growth
        else "No connection was replaced."
    )
    text = (
        f"Objective {objective['name']}{more}; "
        f"{trainer['epochs']} epochs in batches of {trainer['batch_size']}, SGD with rate "
        f"{trainer['lr']:g}, momentum {trainer['momentum']:g} and weight decay "
        f"{trainer['weight_decay']:g}, {cell.trained.precision}; "
        f"seed {cell.config['seed']}. {rewired}"
    )
    if record := cell.provenance:
        hours = f", {record.hours:.2f} hours" if record.seconds else ""
        text += f" On {record.machine}{hours}; commit {record.commit}."
    return text


def limits(cell: Cell) -> Iterator[str]:
    """What the network is not good for."""
    yield cell.note
    yield "One training of one seed: how far others fall from these numbers is not known from it."
    if cell.adversarial:
        yield (
            "Robust accuracy is what the attack above leaves, an upper bound: stronger attacks, "
            "larger or other balls than L∞ leave less."
        )
    else:
        yield "Trained without an adversary: not robust, and not meant to be."
    yield (
        "For research on sparse networks. Not for decisions on people, for safety, or as a defence "
        "against a real adversary; it knows ten classes of 32×32 pixels and nothing else, and "
        "answers with one of them whatever it is shown."
    )
