"""Which trained networks the audits of a cell may transfer from: those that the pipeline lists.

`audit` reads another network, and which ones there are depends on the list in params.yaml. This
stage stands between: it looks at all trainings, and changes for the audits only what they read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rewire.files import read_json, sha256, write_json
from rewire.pipeline.cells import cell_folder, source_folder
from rewire.pipeline.document import SELECTIONS, SURROGATES
from rewire.pipeline.documents import document_of
from rewire.pipeline.params import PARAMS, read_axes

STAGE = "surrogates"


def run(config: DictConfig, overrides: list[str]) -> None:
    """Write the strategies that are trained, with the SHA-256 of their networks."""
    plain = OmegaConf.to_container(config, resolve=True)
    listed = read_axes(PARAMS, "thesis", ("rewire",))["rewire"]
    found = {}
    for name in plain["audit"]["transfer_from"]:
        network = network_of(plain, overrides, name)
        if name in listed and network.is_file():
            found[name] = sha256(network)
    path = surrogates_file(plain)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    print(f"wrote {path.parent}")


def network_of(config: Mapping[str, Any], overrides: Sequence[str], strategy: str) -> Path:
    """The network of the same training with another rewiring strategy."""
    other = {**config, "rewire": {**config["rewire"], "name": strategy}}
    folder = source_folder(other, stage="train", overrides=overrides)
    return folder / SELECTIONS[config["selection"]]


def surrogates_file(config: Mapping[str, Any]) -> Path:
    """OUTPUT/PROFILE/surrogates/CELL-seedN/surrogates.json; the same for all strategies."""
    arm = f"-{config['arm']}" if config["arm"] else ""
    cell = f"{document_of(STAGE).family(config)}{arm}-seed{config['seed']}"
    profile = config["profile"]["name"]
    return cell_folder(config["output"], profile=profile, stage=STAGE, cell=cell) / SURROGATES


def listed_surrogates(config: Mapping[str, Any]) -> list[str] | None:
    """Strategies that the pipeline has trained to transfer from; None outside of a pipeline."""
    path = surrogates_file(config)
    return list(read_json(path)) if path.is_file() else None
