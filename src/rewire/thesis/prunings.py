"""Ways of pruning trained networks, beside each other: accuracy against zero vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewire.files import WEIGHTS
from rewire.pipeline.document import METRICS
from rewire.pipeline.made import read_config, recorded_hash
from rewire.pipeline.profiles import finished
from rewire.reporting.text_tables import write_summary
from rewire.structure.report import StructureReport
from rewire.thesis.metrics import Evaluation, Pruning, Structure, Withstood
from rewire.thesis.report.pruning_figure import AS_TRAINED, Pruned, pruning_plot

NAME, TITLE = "thesis_prunings", "Ways of pruning"
COMMON = ("name", "layers", "reestimate_batchnorm", "finetune")  # of every method


def prunings(source: Path, networks: Sequence[str]) -> Iterator[Pruned]:
    """Trained networks and all ways of pruning them that were examined, by their zero vectors.

    What belongs together is known by the hashes of the networks, not by names: an evaluation may
    have options of its own. What was made from a network that is no longer there is left out, and
    so are networks of which no way removed anything, like dense ones.

    Args:
        source: outputs of one profile.
        networks: names of trained cells, in the order that is wanted.
    """
    evaluations, structures = (_by_pruned(source, stage) for stage in ("evaluate", "structure"))
    pruned = list(_finished(source, "prune"))
    for network in networks:
        trained = recorded_hash(source / "train" / network / WEIGHTS)
        before, ways = None, set()
        for path, config in pruned:
            if _inputs(config).get("train") != trained:
                continue
            digest = recorded_hash(path / WEIGHTS)
            if digest in evaluations and digest in structures:
                judged = Evaluation.read(evaluations[digest] / METRICS)
                vectors = Structure.read(structures[digest] / METRICS)
                removed = Pruning.read(path / METRICS).removed_total
                # One row, of the standard one: another device may judge an image otherwise.
                before = _row(network, None, 0, vectors.trained, judged.trained)
                ways.add(_row(network, config["prune"], removed, vectors.pruned, judged.pruned))
        if before and any(one.removed for one in ways):
            yield before
            yield from sorted(ways, key=lambda one: (one.zero_vectors, one.way))


def _finished(source: Path, stage: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Folder and configuration of a stage's finished results, the standard ones last."""
    for name in sorted(finished(source, stage), key=len, reverse=True):
        yield source / stage / name, read_config(source / stage / name)


def _by_pruned(source: Path, stage: str) -> dict[str, Path]:
    """Hash of a pruned network → folder of the result that a stage has of it."""
    inputs = ((_inputs(config), path) for path, config in _finished(source, stage))
    return {found["prune"]: path for found, path in inputs if "prune" in found}


def _inputs(config: Mapping[str, Any]) -> Mapping[str, str]:
    return config.get("inputs") or {}


def _row(
    network: str,
    asked: Mapping[str, Any] | None,
    removed: int,
    structure: StructureReport | None,
    judged: Withstood | None,
) -> Pruned:
    assert structure is not None  # the network was among the inputs
    assert judged is not None
    return Pruned(
        network=network,
        way=words(asked, numbers=True) if asked else AS_TRAINED,
        family=words(asked, numbers=False) if asked else AS_TRAINED,
        removed=removed,
        connected=structure.connected,
        zero_vectors=structure.zero_vectors.percent,
        accuracy=judged.clean.accuracy,
    )


def words(asked: Mapping[str, Any], *, numbers: bool) -> str:
    """A configured way of pruning, as short as it can be said, with or without its numbers."""
    own = [value for option, value in asked.items() if option not in COMMON]
    choices = [value for value in own if isinstance(value, str)]
    values = [f"{value}" for value in own if numbers and not isinstance(value, str)]
    # No vector at all: what training on or BatchNorm's new statistics do without any pruning.
    nothing = numbers and asked.get("zero_vectors") == 0
    parts = ["nothing" if nothing else " ".join([asked["name"], *values, *choices])]
    if asked["layers"] != "all":
        parts.append(f"{asked['layers']} layers")
    if asked["reestimate_batchnorm"]:
        parts.append("BatchNorm anew")
    tuned = asked.get("finetune") or {"epochs": 0}  # older results name none
    if epochs := tuned["epochs"]:
        parts.append(f"{epochs} more epoch{'s' if epochs > 1 else ''} at {tuned['lr']:g}")
    return ", ".join(parts)


def write_prunings(
    source: Path, networks: Sequence[str], tables: Path, figures: Path
) -> str | None:
    """Write the table and its picture; its Markdown, or None where only one way was tried."""
    found = several(source, networks)
    if not found:
        return None
    text = write_summary(rows_of(found), tables, NAME)[0].read_text(encoding="utf-8")
    pruning_plot(found, path=figures / f"{NAME}.png")
    return f"# {TITLE}\n\n{text}"


def several(source: Path, networks: Sequence[str]) -> list[Pruned]:
    """`prunings`, if more than one way was tried; else nothing."""
    found = list(prunings(source, networks))
    return found if len({one.way for one in found} - {AS_TRAINED}) > 1 else []


def rows_of(found: Iterable[Pruned]) -> list[dict[str, Any]]:
    """Rows of a table."""
    return [
        {
            "network": one.network,
            "pruned by": one.way,
            "connections removed": one.removed,
            "weights left": one.connected,
            "zero vectors %": one.zero_vectors,
            "accuracy %": one.accuracy,
        }
        for one in found
    ]
