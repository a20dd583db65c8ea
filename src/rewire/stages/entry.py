"""The command line of every stage: Hydra composes, errors become lines and an exit code."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from rewire.errors import InputError
from rewire.files import writable_folder
from rewire.stages.documents import document_of
from rewire.stages.validation import read_numbers, rules_of
from rewire.stages.validation_overrides import check_arguments, search_path, with_home

PACKAGE = Path(__file__).resolve().parents[1]
# A built package brings it along (setup.py); in a clone it is at the top.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
DEBUG = ("REWIRE_DEBUG", "HYDRA_FULL_ERROR")  # environment: 1 shows tracebacks


def launch(stage: str) -> None:
    """Run `stage` with the configuration that the command line describes.

    Exit codes: 0 done, 1 a defect or a failed job of a sweep, 2 a value that cannot be used, 130
    interrupted (Ctrl+C).
    """
    try:
        launch_arguments(stage)
    except KeyboardInterrupt as interrupt:
        show(interrupt)
        refuse(["interrupted"], code=128 + signal.SIGINT)


def launch_arguments(stage: str) -> None:
    """Read the command line, and run what it describes."""
    # Large tensors come and go every step; huge pages make their first touch cheap.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    arguments = [with_home(argument) for argument in in_order(sys.argv[1:])]
    checked = check_arguments(stage, arguments, CONF)
    if checked.found.errors:
        refuse(checked.found.errors)
    if checked.output is not None:
        try:
            writable_folder(checked.output)  # before Hydra writes its record of a sweep
        except InputError as error:
            stop(error)
    for line in checked.found.warnings:
        print(f"warning: {line}", file=sys.stderr)
    if checked.config is not None:
        run(stage, checked.config, checked.overrides)
        return
    more = [search_path(CONF), f"hydra.launcher.stage={stage}"]
    if "--hydra-help" in arguments:  # of Hydra alone: it composes nothing of ours
        arguments, more = ["--hydra-help"], []
    sys.argv = [sys.argv[0], *arguments, *more]

    @hydra.main(
        config_path=str(CONF / document_of(stage).conf), config_name="config", version_base="1.3"
    )
    def main(config: DictConfig) -> None:
        read_numbers(config, rules_of(document_of(stage)))
        run(stage, config, list(HydraConfig.get().overrides.task))

    main()


def run(stage: str, config: DictConfig, overrides: list[str]) -> None:
    """Run a stage on a checked configuration, whose numbers are read."""
    module = importlib.import_module(f"rewire.stages.{stage}")
    # What is there now stays: the collector need not look at it again, not even at the end.
    gc.freeze()
    gc.enable()
    try:
        module.run(config, overrides)
    except InputError as error:
        stop(error)


def in_order(arguments: list[str]) -> list[str]:
    """Flags first: Hydra takes overrides in one piece only."""
    ordered = sorted(arguments, key=lambda a: "=" in a and not a.startswith("-"))
    # A value may follow --info: without one, it would be the first override.
    return [
        "--info=all"
        if argument in ("--info", "-i") and (following is None or "=" in following)
        else argument
        for argument, following in zip_longest(ordered, ordered[1:])
    ]


def stop(error: InputError) -> None:
    """Print what is wrong in one line and leave with its exit code."""
    show(error)
    refuse([str(error)], code=error.exit_code)


def show(error: BaseException) -> None:
    """Print where an error comes from, if that is wanted."""
    if any(os.environ.get(name) == "1" for name in DEBUG):
        traceback.print_exception(error)


def refuse(errors: Iterable[str], *, code: int = 2) -> None:
    """Print what is wrong, a line each, and leave with an exit code."""
    for line in errors:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(code)
