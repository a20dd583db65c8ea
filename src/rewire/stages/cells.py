"""Names and folders of cells: what was run is in the name, never when."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

AXES = ("sparsity", "objective", "rewire", "seed", "profile")
# What decides the result of each stage, beside what decided those before it.
TRAINING = ("data", "model", "objective", "rewire", "trainer")
GROUPS = {
    "train": TRAINING,
    "prune": (*TRAINING, "prune"),
    "evaluate": (*TRAINING, "prune", "attack"),
    "structure": (*TRAINING, "prune"),
}
LONGEST_SUFFIX = 60


def cell_name(
    *,
    objective: str,
    sparsity: float,
    rewire: str,
    seed: int,
    stage: str = "train",
    arm: str | None = None,
    overrides: Iterable[str] = (),
) -> str:
    """A readable id such as `natural-s0.99-l2-seed0`.

    What changes the stage's result without being an axis is appended, so that a variant never
    takes the place of the standard cell: the `arm` that an experiment names, and overrides, as in
    `…-seed0-trainer.epochs=3`.
    """
    name = f"{objective}-s{sparsity}-{rewire}-seed{seed}" + (f"-{arm}" if arm else "")
    others = []
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key not in AXES and key.partition(".")[0] in GROUPS[stage]:
            others.append(override.lstrip("+"))
    suffix = "-".join(re.sub(r"[^A-Za-z0-9_.=-]+", "_", other) for other in sorted(others))
    if len(suffix) > LONGEST_SUFFIX:
        suffix = hashlib.sha256("-".join(sorted(others)).encode()).hexdigest()[:12]
    return f"{name}-{suffix}" if suffix else name


def cell_of(config: Mapping[str, Any], *, stage: str, overrides: Iterable[str]) -> str:
    """`cell_name` of a composed configuration."""
    return cell_name(
        objective=config["objective"]["name"],
        sparsity=config["sparsity"],
        rewire=config["rewire"]["name"],
        seed=config["seed"],
        arm=config["arm"],
        stage=stage,
        overrides=overrides,
    )


def cell_folder(output: str | Path, *, profile: str, stage: str, cell: str) -> Path:
    """<output>/<profile>/<stage>/<cell>."""
    return Path(output) / profile / stage / cell
