"""The command line of every stage: Hydra composes, errors become one line and an exit code."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import hydra_plugins.rewire_launcher  # noqa: F401 (registers hydra/launcher=isolated)
from rewire.errors import InputError, unknown_name
from rewire.files import writable_folder
from rewire.stages.cells import document_of

CONF = Path(__file__).resolve().parents[3] / "conf"
KINDS = {"rewire": "rewiring strategy"}  # groups whose choices have a better name


def launch(stage: str) -> None:
    """Run `stage` with the configuration that the command line describes.

    Exit codes: 0 done, 1 a defect or a failed job of a sweep, 2 a value that cannot be used.
    """
    # Large tensors come and go every step; huge pages make their first touch cheap.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    root = CONF / document_of(stage).conf
    # Groups that a document does not have itself are those of the first one.
    sys.argv += [f"hydra.searchpath=['file://{CONF}']", f"hydra.launcher.stage={stage}"]

    @hydra.main(config_path=str(root), config_name="config", version_base="1.3")
    def main(config: DictConfig) -> None:
        overrides = list(HydraConfig.get().overrides.task)
        module = importlib.import_module(f"rewire.stages.{stage}")
        # What is there now stays: the collector need not look at it again, not even at the end.
        gc.freeze()
        gc.enable()
        try:
            module.run(config, overrides)
        except InputError as error:
            stop(error)

    try:
        check_choices(sys.argv[1:], root)
        check_output(sys.argv[1:])
    except InputError as error:
        stop(error)
    main()


def check_output(arguments: list[str]) -> None:
    """Refuse an output folder that cannot be written before Hydra writes its record of a sweep."""
    for argument in arguments:
        if argument.startswith("output="):
            writable_folder(argument.partition("=")[2])


def stop(error: InputError) -> None:
    """Print what is wrong in one line and leave with exit code 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def check_choices(arguments: list[str], root: Path) -> None:
    """Refuse group choices that do not exist, with the nearest name, before Hydra starts."""
    for argument in arguments:
        group, equals, values = argument.lstrip("+").partition("=")
        if not equals or not group.isidentifier():
            continue
        folder = root / group if (root / group).is_dir() else CONF / group
        allowed = [path.stem for path in folder.glob("*.yaml")]
        if not allowed:
            continue
        for value in values.split(","):
            if value not in (*allowed, "null"):
                raise unknown_name(KINDS.get(group, group), value, allowed)
