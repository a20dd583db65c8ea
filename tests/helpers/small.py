"""A configuration so small that every stage runs in a second or two."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from rewire.config.command_line import search_path
from rewire.config.read import read_numbers
from rewire.files import MANIFEST, read_json, sha256, write_json
from rewire.pipeline.document import Document
from rewire.pipeline.paths import CONF
from rewire.pipeline.schema import typed
from rewire.registry import OPEN
from rewire.thesis.document import THESIS

ROOT = CONF.parent
OWN = {  # variables of every Python process: this checkout beside the packages that are here
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])),
    "OMP_NUM_THREADS": "1",
}
SMALL = (
    "model.width=0.1",
    "data.train_size=64",
    "data.test_size=20",
    "data.validation_size=10",
    "trainer.epochs=2",
    "attack.steps=2",
    "attack.images=10",
    "tracking=off",
)


def composed(*overrides: str, document: Document = THESIS) -> DictConfig:
    """A document's root configuration with these overrides, as a stage gets it."""
    with initialize_config_dir(str(CONF / document.name), version_base="1.3"):
        config = compose("config", overrides=[search_path(CONF, document.name), *overrides])
    read_numbers(config, document.name)
    return config


def typed_of(*overrides: str, document: Document = THESIS) -> Any:
    """The same as the object that the stages take."""
    config = composed(*overrides, document=document)
    return typed(document.name, OmegaConf.to_container(config, resolve=True))


@functools.cache
def _defaults(document: Document) -> dict[str, Any]:
    return OmegaConf.to_container(composed(document=document), resolve=True)


def typed_with(config: Mapping[str, Any], *, document: Document = THESIS) -> Any:
    """A document's default configuration with the groups and values of a plain one, typed."""
    plain: dict[str, Any] = dict(_defaults(document))
    for key, value in config.items():
        if key in OPEN and key != "data":
            known = OPEN[key].options(value["name"]) if value["name"] in OPEN[key] else {}
            plain[key] = {o: option.default for o, option in known.items()} | value
        else:
            plain[key] = plain[key] | value if isinstance(value, dict) else value
    return typed(document.name, plain)


def small(output: Path, *overrides: str) -> tuple[DictConfig, list[str]]:
    """(configuration, overrides) of a small cell below `output`; arguments of a stage's `run`."""
    chosen = ["sparsity=0.9", *SMALL, f"output={output}", *overrides]
    return composed(*chosen), []


def run(
    *arguments: str, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """A Python process with these arguments, as a user would start it."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | OWN | (env or {}),
    )


def list_anew(path: Path) -> None:
    """Make the manifest beside `path` list what the file is now, as its stage would."""
    manifest = read_json(path.with_name(MANIFEST))
    manifest["files"][path.name] = sha256(path)
    write_json(path.with_name(MANIFEST), manifest)
