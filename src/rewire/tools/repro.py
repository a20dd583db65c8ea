"""The whole pipeline: `rewire repro` is `dvc repro` that says how far it is and how long it takes.

What a kill left half-written is mended first (`rewire repair`). At the end stands the address of
the page that shows everything. With --profile the pipeline runs as an experiment of DVC at another
scale than params.yaml says.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rewire.errors import InputError, unknown_name
from rewire.pipeline.documents import DOCUMENTS
from rewire.pipeline.dvc_yaml import PIPELINE
from rewire.pipeline.params import PARAMS
from rewire.pipeline.paths import CONF
from rewire.progress import about
from rewire.tools.repair_lock import mend
from rewire.tools.report import PAGE
from rewire.tools.verify_lock import LOCK

# Seconds of a stage at the quick scale on two cores, its start (4 s) included: of those whose names
# begin so, the longest beginning counts. Only their ratios matter once a run has begun.
QUICK = {
    "": 10, "train": 36, "train@trades": 53, "prune": 5, "evaluate": 10, "structure": 6,
    "surrogates": 1, "audit": 11, "article_train": 20, "article_noise": 12,
    "article_noise@cnn": 42, "article_curves": 29, "article_curves@cnn": 44,
    "article_adaptive": 12, "article_adaptive@cnn": 22, "article_transfer": 9,
    "article_decoupled": 30, "tables": 30, "report": 15,
}  # fmt: skip
SAID = re.compile(r"(?P<runs>Running stage|Stage) '(?P<name>[^']+)'(:$| didn't| is cached)")


def stage_names(pipeline: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """All stages of a dvc.yaml by DVC's names for them: `prune@natural-s0.99-l2-0`.

    Args:
        pipeline: what dvc.yaml holds.
        params: what params.yaml holds: the lists that a stage's `matrix` refers to.

    Raises:
        InputError: for something else than a list in params.yaml.
    """

    def values(reference: str) -> list[Any]:
        found: Any = params
        name = reference.removeprefix("${").removesuffix("}")
        for key in name.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, list):
            raise InputError(f"'{PARAMS}': {name} is {found!r}. Allowed: a list.")
        return found

    names = []
    for name, stage in pipeline["stages"].items():
        lists = [values(reference) for reference in stage.get("matrix", {}).values()]
        cells = ("-".join(map(str, cell)) for cell in itertools.product(*lists))
        names += [f"{name}@{cell}" for cell in cells] if lists else [name]
    return names


def usual(name: str) -> float:
    """The seconds of a stage in an earlier run, at the quick scale."""
    return QUICK[max(filter(name.startswith, QUICK), key=len)]


class Progress(logging.Handler):
    """Hears what DVC says of its stages, and says how many there are and how long they take.

    Args:
        names: of all stages.
        quick: whether they have the scale of `QUICK`; else nothing is known before the first ran.

    Attributes:
        seen: stage that DVC has come to → whether it runs or ran, as opposed to nothing new.
        took: seconds of the stages that ran in this run.
    """

    def __init__(self, names: Sequence[str], *, quick: bool) -> None:
        super().__init__(level=logging.INFO)
        self.names, self.quick = names, quick
        self.seen: dict[str, bool] = {}
        self.took: dict[str, float] = {}
        self._since = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        match = SAID.match(record.getMessage())
        if match is None or match["name"] in self.seen:
            return
        self.pause()
        runs = match["runs"] == "Running stage"
        self.seen[match["name"]] = runs
        if runs:
            print(self.line(), flush=True)

    def pause(self) -> None:
        """Note how long the stage took that ran until now."""
        now = time.monotonic()
        last = next(reversed(self.seen), None)
        if last is not None and self.seen[last]:
            self.took[last] = now - self._since
        self._since = now

    def line(self) -> str:
        """`stage 12 of 71, about 6 minutes left`."""
        text = f"stage {len(self.seen)} of {len(self.names)}"
        seconds = self.seconds_left()
        if seconds is None:
            return text
        left = about(seconds)
        # What did not change is found out when it is its turn.
        if not all(self.seen.values()) and left.startswith("about"):
            left = f"at most {left}"
        return f"{text}, {left} left"

    def seconds_left(self) -> float | None:
        """For the stage that runs and those that DVC has not come to; None if nothing is known."""
        if not self.took and not self.quick:
            return None
        current = next(reversed(self.seen), None)
        left = [name for name in self.names if name not in self.seen or name == current]
        return sum(usual(name) * self.slowness(kind_of(name)) for name in left)

    def slowness(self, kind: str) -> float:
        """How many times the usual seconds a kind of stage takes here, or all if it has not run."""
        ran = [name for name in self.took if kind_of(name) == kind] or list(self.took)
        return sum(self.took[n] for n in ran) / sum(map(usual, ran)) if ran else 1.0


def kind_of(name: str) -> str:
    """`train` of `train@natural-s0.99-l2-0`."""
    return name.partition("@")[0]


def dvc(arguments: Sequence[str], progress: Progress) -> int:
    """Run DVC in this process, so that kills, Ctrl+C and exit codes are its own.

    Raises:
        InputError: if it is not installed.
    """
    try:
        from dvc.cli import main
    except ImportError as error:
        raise InputError("DVC is missing. Allowed: pip install 'rewire[pipeline]'.") from error
    logger = logging.getLogger("dvc")
    logger.handlers.insert(0, progress)  # a line of ours stands above what it is about
    try:
        return main(list(arguments))
    finally:
        logger.removeHandler(progress)


def read(path: Path) -> Any:
    """The values in a file of the pipeline."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read '{path}' here: {error}") from error


def main(arguments: list[str] | None = None) -> int:
    """Exit code: DVC's."""
    parser = argparse.ArgumentParser(
        prog="rewire repro",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", help="scale to run at instead of that in params.yaml")
    profile = parser.parse_args(arguments).profile
    started = time.monotonic()
    if profile is not None:
        check_profile(profile)
    params = read(PARAMS)
    asked = params.get("profile") if isinstance(params, dict) else None
    quick = (profile or check_profile(asked)) == "quick"
    progress = Progress(stage_names(read(PIPELINE), params), quick=quick)
    for line in mend(Path()):
        print(f"mended {line}", flush=True)
    words = ["exp", "run", "-S", f"profile={profile}"] if profile else ["repro"]
    code = dvc(words, progress)
    if code == 0:
        print(end_line(progress, time.monotonic() - started), flush=True)
    return code


def check_profile(name: object) -> str:
    """The name of a scale at which every document can run; raises `InputError` for another."""
    if name not in profiles():
        raise unknown_name("profile", str(name), profiles())
    return str(name)


def profiles() -> set[str]:
    """The scales at which every document can run."""
    folders = (CONF / document.name / "profile" for document in DOCUMENTS)
    return set.intersection(*({path.stem for path in folder.glob("*.yaml")} for folder in folders))


def end_line(progress: Progress, seconds: float) -> str:
    """What ran, and where to look at it."""
    changed = ["git", "diff", "--quiet", "--", str(LOCK)]
    note = (
        f"note: some results differ from the committed {LOCK}: another kind of processor "
        "(last bits), or changed code or configuration\n"
        if subprocess.run(changed, capture_output=True).returncode == 1
        else ""
    )
    ran = sum(progress.seen.values())
    page = ("outputs" / PAGE).resolve().as_uri()
    return f"{note}{ran} of {len(progress.names)} stages ran, in {about(seconds)}\nresults: {page}"
