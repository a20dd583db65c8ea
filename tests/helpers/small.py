"""A configuration so small that every stage runs in a second or two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from rewire.config.read import read_numbers

from rewire.config.command_line import search_path
from rewire.files import MANIFEST, read_json, sha256, write_json
from rewire.pipeline.document import Document
from rewire.pipeline.paths import CONF
from rewire.thesis.document import THESIS

ROOT = CONF.parent
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
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"} | (env or {}),
    )


def list_anew(path: Path) -> None:
    """Make the manifest beside `path` list what the file is now, as its stage would."""
    manifest = read_json(path.with_name(MANIFEST))
    manifest["files"][path.name] = sha256(path)
    write_json(path.with_name(MANIFEST), manifest)
