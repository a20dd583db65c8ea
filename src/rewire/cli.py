"""The command line: `rewire DOCUMENT STAGE [option=value ...]` and `rewire COMMAND`.

Hydra composes what a stage is to do; mistakes become lines and an exit code.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from itertools import zip_longest
from typing import NoReturn

import rewire
from rewire.errors import InputError, unknown_name
from rewire.files import writable_folder
from rewire.pipeline.console import refuse, show, stop
from rewire.pipeline.documents import DOCUMENTS, document_of, module_of, stage_of

COMMANDS = {  # name → module with its `main`, and what it does
    "repro": ("rewire.tools.repro", "the whole pipeline, with the time that it still takes"),
    "report": ("rewire.tools.report", "one HTML page of a profile's results"),
    "experiments": ("rewire.tools.experiments", "DVC's experiments on one screen"),
    "publish": ("rewire.tools.publish", "gather a profile's results in a folder to commit"),
    "restore": ("rewire.tools.restore", "published results as outputs again, to go on from"),
    "export": ("rewire.tools.export", "a network as ONNX model, torch program or state_dict"),
    "dashboard": ("rewire.tracking.dashboard", "list the tracked runs, and how to look at them"),
    "check": ("rewire.tools.verify_lock", "compare every byte of the results with dvc.lock"),
    "repair": ("rewire.tools.repair_lock", "after a kill: make readable what DVC was writing"),
    "options": (
        "rewire.config.reference",
        "write docs/options.md and docs/schema/",
    ),
    "pipeline": ("rewire.pipeline.dvc_yaml", "write dvc.yaml from what the stages declare"),
    "prove-resume": ("rewire.tools.prove_resume", "kill trainings, and compare their ends"),
}
HELP = ("--help", "-h", "help")


def main(arguments: Sequence[str]) -> int:
    """Run what the command line names; returns or exits with its exit code.

    0 done, 1 a defect or a failed job of a sweep, 2 a value that cannot be used, 130 interrupted
    (Ctrl+C).
    """
    name, *others = arguments or ["--help"]
    if name in HELP:
        print(usage())
        return 0
    if name == "--version":
        print(f"rewire {rewire.__version__}")
        return 0
    documents = [document.name for document in DOCUMENTS]
    try:
        if name == "complete":
            from rewire.config.completion import completions

            print("\n".join(completions(others, COMMANDS)))
            return 0
        if name in COMMANDS:
            gc.enable()
            return importlib.import_module(COMMANDS[name][0]).main(others) or 0
        if name not in documents:
            raise unknown_name("command", name, [*COMMANDS, *documents])
        if not others or others[0] in HELP:
            print(usage())
            return 0
        stage = stage_of(name, others[0])
    except InputError as error:
        stop(error)
    except KeyboardInterrupt as interrupt:
        interrupted(interrupt)
    launch(stage, others[1:])
    return 0


def usage() -> str:
    """What there is to run."""
    width = max(map(len, COMMANDS))
    documents = [
        f"  rewire {d.name} {{{','.join(map(d.short, d.stages))}}} [option=value ...]"
        for d in DOCUMENTS
    ]
    commands = [f"  rewire {name:<{width}}  {words}" for name, (_, words) in COMMANDS.items()]
    return "\n".join(
        [
            "Stages of a document; -m runs a sweep, --help lists a stage's options:",
            *documents,
            "",
            "Commands; --help says more of each:",
            *commands,
        ]
    )


def launch(stage: str, arguments: Sequence[str]) -> None:
    """Run `stage` with the configuration that these arguments describe; exit codes as `main`."""
    try:
        launch_arguments(stage, arguments)
    except InputError as error:
        stop(error)
    except KeyboardInterrupt as interrupt:
        interrupted(interrupt)


def interrupted(interrupt: KeyboardInterrupt) -> NoReturn:
    """Say so in one line, and exit as a shell expects it."""
    show(interrupt)
    refuse(["interrupted"], code=128 + signal.SIGINT)


def launch_arguments(stage: str, arguments: Sequence[str]) -> None:
    """Read the command line, and run what it describes."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from rewire.config.command_line import check_arguments, search_path, with_home
    from rewire.config.read import read_numbers
    from rewire.pipeline.paths import CONF

    # Large tensors come and go every step; huge pages make their first touch cheap.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    arguments = [with_home(argument) for argument in in_order(arguments)]
    checked = check_arguments(stage, arguments, CONF)
    if checked.found.errors:
        refuse(checked.found.errors)
    if checked.output is not None:
        try:
            writable_folder(checked.output)  # before Hydra writes its record of a sweep
        except InputError as error:
            stop(error)
    if checked.config is not None and set(HELP) & set(arguments):
        from rewire.config.reference import help_of

        print(help_of(stage, checked.config))
        return
    for line in checked.found.warnings:
        print(f"warning: {line}", file=sys.stderr)
    if checked.config is not None:
        run(stage, checked.config, checked.overrides)
        return
    document = document_of(stage)
    more = [search_path(CONF, document.name), f"hydra.launcher.stage={stage}"]
    if "--hydra-help" in arguments:  # of Hydra alone: it composes nothing of ours
        arguments, more = ["--hydra-help"], []
    sys.argv = [f"rewire {document.name} {document.short(stage)}", *arguments, *more]

    @hydra.main(config_path=str(CONF / document.name), config_name="config", version_base="1.3")
    def composed(config: DictConfig) -> None:
        read_numbers(config, document.name)
        run(stage, config, list(HydraConfig.get().overrides.task))

    composed()


def run(stage: str, config, overrides: list[str]) -> None:
    """Run a stage on a checked configuration, whose numbers are read."""
    module = importlib.import_module(module_of(stage))
    # What is there now stays: the collector need not look at it again, not even at the end.
    gc.freeze()
    gc.enable()
    try:
        module.run(config, overrides)
    except InputError as error:
        stop(error)


def in_order(arguments: Sequence[str]) -> list[str]:
    """Flags first: Hydra takes overrides in one piece only."""
    ordered = sorted(arguments, key=lambda a: "=" in a and not a.startswith("-"))
    # A value may follow --info: without one, it would be the first override.
    return [
        "--info=all"
        if argument in ("--info", "-i") and (following is None or "=" in following)
        else argument
        for argument, following in zip_longest(ordered, ordered[1:])
    ]
