"""Start and end of a tracked run."""

from __future__ import annotations

import gc
import os
import secrets
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from rewire.errors import InputError, unknown_name
from rewire.files import read_json, writable_folder, write_json
from rewire.tracking.tracker import CARD, NullTracker, Tracker, plain

if TYPE_CHECKING:
    from rewire.tracking.wandb_run import WandbTracker

MODES = ("off", "offline", "online")
# What W&B's own variable means here. It decides where the run is to be tracked at all.
WANDB_MODE = "WANDB_MODE"
WANDB_MODES = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "off",
}

# Listing the installed packages takes 0.06 s a run, the system monitors run threads and probes;
# versions and machine are recorded beside every result instead.
FAST = {
    "console": "off",
    "disable_git": True,
    "disable_job_creation": True,
    "save_code": False,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_save_requirements": False,
}


# Of the caller: what would overrule the arguments, an agent's values of a sweep (those of the run
# are what decided its result), and the address of a service of another process.
INHERITED = (
    *(WANDB_MODE, "WANDB_DISABLED", "WANDB_RESUME", "WANDB_SERVICE"),
    "WANDB_SWEEP_PARAM_PATH",
)


@contextmanager
def track(
    mode: str | bool,
    *,
    project: str,
    group: str,
    job_type: str,
    name: str,
    tags: Sequence[str],
    config: Mapping[str, Any],
    folder: str | Path,
    unfinished: str | Path | None = None,
    system_metrics: bool = False,
) -> Iterator[Tracker]:
    """One run, from here to the end of the block; it counts as failed if the block raises.

    Offline, a missing or broken wandb is a warning and the block gets a `NullTracker`. The process
    environment is the caller's again afterwards.

    Args:
        mode: "off" (wandb is not imported), "offline" (a folder that `wandb sync` can push later)
            or "online". False means "off", which is what YAML makes of an unquoted off. WANDB_MODE
            in the environment (online, offline or disabled) overrules the last two.
        project: W&B project.
        group: runs that are compared with each other, for example one table row.
        job_type: the stage.
        name: the cell; the run is called "<name>-<job_type>". Its id begins with four letters of
            its own, then with what tells it from others of its group: terminals show little more
            of it, and the same cell can run again.
        tags: labels to filter by.
        config: plain, possibly nested hyper-parameters.
        folder: where everything that W&B writes goes. W&B puts runs into a folder "wandb"; a
            `folder` of that name is this folder, in any other one it is made.
        unfinished: a file that is there as long as the work of the run is unfinished. It keeps
            the run's id, so that work that goes on does so in its own run; delete it at the end.
        system_metrics: whether W&B records the use of processors and memory beside the curves.

    Yields:
        The tracker of the run.

    Raises:
        InputError: for an unknown mode, a folder that cannot be written, and online for a missing
            key, a missing wandb or a server that refuses the run.
    """
    mode = "off" if mode is False else mode
    if mode not in MODES:
        raise unknown_name("tracking mode", mode, MODES)
    if mode != "off" and (told := os.environ.get(WANDB_MODE)):
        if told not in WANDB_MODES:
            raise unknown_name(WANDB_MODE, told, WANDB_MODES)
        mode = WANDB_MODES[told]
    if mode == "off":
        yield NullTracker()
        return
    folder = writable_folder(folder).resolve()
    with environment(mode, folder):
        run = _start(
            mode,
            project=project,
            group=group,
            job_type=job_type,
            name=name,
            tags=list(tags),
            config=plain(config),
            root=run_root(folder),
            unfinished=None if unfinished is None else Path(unfinished),
            system_metrics=system_metrics,
        )
        failed = True
        try:
            yield run or NullTracker()
            failed = False
        finally:
            if run:
                run.finish(failed=failed)


def run_root(folder: Path) -> Path:
    """The folder in which W&B makes its folder "wandb" with the runs."""
    return folder.parent if folder.name == "wandb" else folder


@contextmanager
def environment(mode: str, folder: Path) -> Iterator[None]:
    """W&B's environment variables for one run; all WANDB_* are as before afterwards.

    That includes the address of the service, which child processes must not inherit.
    """
    before = {key: value for key, value in os.environ.items() if key.startswith("WANDB_")}
    for inherited in INHERITED:
        os.environ.pop(inherited, None)
    os.environ |= {
        "WANDB_DIR": str(run_root(folder)),
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CONSOLE": "off",
    }
    if mode == "offline":
        # Online the user's own one counts: `wandb login --host` keeps a private server's address.
        os.environ["WANDB_CONFIG_DIR"] = str(folder / "config")
    try:
        yield
    finally:
        for key in [key for key in os.environ if key.startswith("WANDB_")]:
            del os.environ[key]
        os.environ |= before


@contextmanager
def _quick_start() -> Iterator[None]:
    """Halve the time of the first start in a process, about 0.5 s beside a loaded torch."""
    # wandb's class definitions set off full collections over all of torch's objects.
    collecting = gc.isenabled()
    gc.disable()
    # wandb looks here for inputs of its job queue, builds hundreds of pydantic fields for that,
    # and goes on without them if the import fails.
    unwanted = "wandb.sdk.launch"
    modules = cast(dict[str, Any], sys.modules)
    blocked = modules.setdefault(unwanted, None) is None
    try:
        yield
    finally:
        if blocked:
            del sys.modules[unwanted]
        if collecting:
            gc.enable()


def _start(mode: str, **run: Any) -> WandbTracker | None:
    """The started run; None offline if W&B does not work."""
    try:
        with _quick_start():
            return _init(mode, **run)
    except InputError:
        raise
    except Exception as error:
        if mode == "offline":
            warnings.warn(f"W&B does not start, this run is not tracked: {error}", stacklevel=5)
            return None
        raise InputError(
            f"W&B refuses to start an online run: {error} "
            "tracking=offline works without a server; `wandb sync` pushes such runs later."
        ) from error


def _init(
    mode: str,
    *,
    project: str,
    group: str,
    job_type: str,
    name: str,
    tags: list[str],
    config: dict[str, Any],
    root: Path,
    unfinished: Path | None,
    system_metrics: bool,
) -> WandbTracker:
    import wandb

    from rewire.tracking.wandb_run import WandbTracker, safe_name

    if mode == "online" and not wandb.login(prompt=False, verify=False):
        raise InputError(
            "tracking=online needs a W&B account: run `wandb login` or set WANDB_API_KEY. "
            "tracking=offline works without one."
        )
    title = f"{name}-{job_type}"
    own = name.removeprefix(f"{group}-")
    known = kept_id(unfinished)
    identity = known or f"{letters(4)}-{safe_name(f'{own}-{job_type}-{group}')}"
    run = wandb.init(
        mode=cast(Literal["online", "offline"], mode),
        project=project,
        group=group,
        job_type=job_type,
        name=title,
        id=identity,
        resume="allow" if known else None,
        tags=tags,
        config=config,
        # Not by WANDB_DIR alone: W&B reads that once in a process.
        dir=root,
        reinit="create_new",
        settings=wandb.Settings(**FAST, x_disable_stats=not system_metrics),
    )
    if unfinished is not None:
        write_json(unfinished, {"id": identity})
    if known:
        leave_behind(root, identity)
    return WandbTracker(run, card={"name": title, "group": group, "job_type": job_type})


def letters(count: int) -> str:
    """Random letters and digits that nobody mistakes for each other."""
    return "".join(secrets.choice("23456789abcdefghjkmnpqrstuvwxyz") for _ in range(count))


def kept_id(unfinished: Path | None) -> str | None:
    """The id of the run that this work began in; None if it begins now."""
    try:
        return None if unfinished is None else str(read_json(unfinished)["id"])
    except (InputError, KeyError, TypeError):
        return None


def leave_behind(root: Path, identity: str) -> None:
    """Say on the cards of a run's earlier pieces, which a stop left as running, that it went on."""
    for path in (root / "wandb").glob(f"*run-*-{identity}/{CARD}"):
        card = read_json(path)
        if card["state"] == "running":
            write_json(path, {**card, "state": "went on"})
