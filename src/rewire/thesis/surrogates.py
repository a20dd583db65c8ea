"""Which trained networks the audits of a cell may transfer from: those that the pipeline lists.

`audit` reads another network, and which ones there are depends on the list in params.yaml. This
stage stands between: it looks at all trainings, and changes for the audits only what they read.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from rewire.files import read_json, sha256, write_json
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import SURROGATES
from rewire.pipeline.documents import document_of
from rewire.pipeline.names import cell_folder
from rewire.pipeline.params import PARAMS, read_axes
from rewire.thesis.configuration import Configuration

STAGE = "surrogates"


def run(config: DictConfig, overrides: list[str]) -> None:
    """Write the strategies that are trained, with the SHA-256 of their networks."""
    cell: Cell[Configuration] = Cell.of(STAGE, config, overrides)
    listed = read_axes(PARAMS, "thesis", ("rewire",))["rewire"]
    found = {}
    for name in map(str, cell.config.audit.transfer_from):
        network = cell.at("train", rewire=name).trained()
        if name in listed and network.is_file():
            found[name] = sha256(network)
    path = surrogates_file(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    print(f"wrote {path.parent}")


def surrogates_file(cell: Cell[Configuration]) -> Path:
    """OUTPUT/PROFILE/surrogates/CELL-seedN/surrogates.json; the same for all strategies."""
    config = cell.config
    arm = f"-{config.arm}" if config.arm else ""
    name = f"{document_of(STAGE).family(cell.plain)}{arm}-seed{config.seed}"
    profile = config.profile.name
    return cell_folder(config.output, profile=profile, stage=STAGE, cell=name) / SURROGATES


def listed_surrogates(cell: Cell[Configuration]) -> list[str] | None:
    """Strategies that the pipeline has trained to transfer from; None outside of a pipeline."""
    path = surrogates_file(cell)
    return list(read_json(path)) if path.is_file() else None
