"""Show the runs of a tracking folder: `rewire dashboard FOLDER`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from rewire.errors import InputError
from rewire.files import read_json
from rewire.tracking.track import run_root
from rewire.tracking.tracker import CARD


def find_runs(folder: str | Path) -> dict[Path, dict[str, str]]:
    """Folder → card (name, group, job_type, state, curves) of all runs below a tracking folder.

    Damaged cards are named and passed over.

    Raises:
        InputError: if there is none.
    """
    cards = dict(whole_cards(folder))
    if not cards:
        raise InputError(
            f"no tracked runs in '{folder}' yet: run a stage with tracking=offline first, "
            "or name the folder that tracking.folder said."
        )
    return cards


def whole_cards(folder: str | Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Every run's folder and its card, by name."""
    for path in sorted((run_root(Path(folder)) / "wandb").glob(f"*run-*/{CARD}")):
        try:
            card = read_json(path)
        except InputError as error:
            print(f"passed over: {error}", file=sys.stderr)
            continue
        if isinstance(card, dict) and {"name", "group", "job_type", "state"} <= set(card):
            yield path.parent, card
        else:
            print(f"passed over: '{path}' is no card of a run", file=sys.stderr)


def last_with_curves(cards: Mapping[Path, Mapping[str, str]]) -> Path | None:
    """The folder of the run that was started last of those that have curves; None without any."""
    drawn = [path for path, card in cards.items() if card.get("curves")]
    # The name has the time of the start behind "run-" or "offline-run-".
    return max(drawn, key=lambda path: path.name.partition("run-")[2], default=None)


def overview(runs: Iterable[Mapping[str, str]]) -> str:
    """A text table: one line per group and job type, one column per state, sorted by name."""
    runs = list(runs)
    states = sorted({run["state"] for run in runs})
    counts = Counter((run["group"], run["job_type"], run["state"]) for run in runs)
    lines = [
        [group, job_type, *(counts[group, job_type, name] for name in states)]
        for group, job_type in sorted({(run["group"], run["job_type"]) for run in runs})
    ]
    return tabulate(lines, ["group", "job type", *states])


def print_views(folder: str, runs: Sequence[Mapping[str, str]], chosen: argparse.Namespace) -> None:
    """Write or create W&B's views of these runs, and say where they are."""
    from rewire.tracking import views

    made: Sequence[object]
    if chosen.wandb == "offline":
        made = views.write(Path(folder), runs, project=chosen.project)
    else:
        made = views.create(Path(folder), runs, project=chosen.project, entity=chosen.entity)
    for place in made:
        print(f"{'wrote' if chosen.wandb == 'offline' else 'created'} {place}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what is there; in a terminal, go on with W&B's own terminal dashboard."""
    parser = argparse.ArgumentParser(prog="rewire dashboard")
    parser.add_argument("folder", nargs="?", default="outputs/wandb", help="tracking.folder")
    parser.add_argument(
        "--wandb",
        nargs="?",
        const="offline",
        choices=("offline", "online"),
        help="write W&B's workspace and report as files beside the runs, or create them online",
    )
    parser.add_argument("--project", default="rewire", help="tracking.project")
    parser.add_argument("--entity", help="W&B's account or team (default: your own)")
    chosen = parser.parse_args(arguments)
    folder = chosen.folder
    try:
        cards = find_runs(folder)
        runs = list(cards.values())
        if chosen.wandb:
            print_views(folder, runs, chosen)
            return
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"{len(runs)} runs in {folder}\n\n{overview(runs)}\n", flush=True)
    # W&B's dashboard opens on the last run of a folder, which may be one of tables: no curve in it.
    shown = str(last_with_curves(cards) or run_root(Path(folder)) / "wandb")
    if sys.stdout.isatty():
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.execv(sys.executable, [sys.executable, "-m", "wandb", "leet", shown])
    print(f"In a terminal this opens: wandb leet {shlex.quote(shown)}")
