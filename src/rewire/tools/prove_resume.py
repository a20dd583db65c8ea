"""Show that a training that is killed at random moments ends as if nothing had happened.

rewire prove-resume [--trials 100]: small trainings of the quick profile, one per rewiring
strategy and objective, first undisturbed, then killed (SIGKILL) once or twice at random moments and
started again. Weights, signs, optimiser, learning-rate schedule, counters of the rewiring, metrics
and history must be bitwise those of the undisturbed one.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from rewire.config.command_line import search_path
from rewire.config.read import read_numbers
from rewire.files import write_text
from rewire.pipeline.cell import Cell
from rewire.pipeline.paths import CONF
from rewire.thesis.configuration import Configuration
from rewire.thesis.document import THESIS
from rewire.tracking import NullTracker
from rewire.training.runner import train

SMALL = (
    "model.width=0.1", "data.train_size=640", "data.validation_size=40", "data.test_size=40",
    "trainer.epochs=5", "trainer.checkpoint_every=1", "trainer.threads=1", "sparsity=0.9",
)  # fmt: skip
KINDS = (
    ("rewire=random",),
    ("rewire=l2",),
    ("rewire=weighted",),
    ("rewire=vector",),
    ("rewire=l2", "objective=trades", "data.train_size=128"),
)
RESULT = "digest"


def configuration(overrides: tuple[str, ...]) -> Cell[Configuration]:
    """A training as stage `train` sees it."""
    with initialize_config_dir(str(CONF / THESIS.name), version_base="1.3"):
        config = compose("config", overrides=[search_path(CONF, THESIS.name), *SMALL, *overrides])
    read_numbers(config, THESIS.name)
    return Cell.of("train", config, overrides)


def digest_of(value: Any) -> str:
    """Hex SHA-256 of nested plain values and tensors, bit by bit."""
    found = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found.update(f"{value.dtype}{tuple(value.shape)}".encode())
            found.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                found.update(str(key).encode())
                feed(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                feed(item)
        else:
            found.update(repr(value).encode())

    feed(value)
    return found.hexdigest()


def train_in_child(cell: Cell[Configuration], folder: Path) -> int:
    """Train in a process of its own, which at its end writes a digest of all there is; its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        trained = train(
            cell.config,
            state_of=cell.state_of(),
            checkpoints=folder,
            tracker=NullTracker(),
            report=lambda line: None,
        )
        state = torch.load(folder / "last.ckpt", weights_only=True)
        kept = {name: state[name] for name in ("optimizer_states", "lr_schedulers")}
        # Lightning's own callbacks note paths.
        kept |= {name: state["callbacks"][name] for name in ("Rewiring", "Selections", "History")}
        parts = (
            trained.model.state_dict(), trained.selected, trained.metrics, trained.history, kept,
        )  # fmt: skip
        write_text(folder / RESULT, digest_of(parts))
        status = 0
    finally:
        os._exit(status)


def finish(child: int, *, after: float | None = None) -> bool:
    """Wait for a child, killing it `after` seconds; whether it came to its end by itself."""
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)  # of a child that has ended already: nothing
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit(f"error: a training failed with exit code {os.WEXITSTATUS(status)}")
    return os.WIFEXITED(status)


def prove(trials: int, *, seed: int, base: Path) -> Iterator[tuple[str, int, bool]]:
    """(training, kills that hit, whether the result was the same) of each trial."""
    chance = random.Random(seed)
    whole: dict[int, tuple[Cell[Configuration], str, float]] = {}
    for trial, kind in zip(range(trials), itertools.cycle(range(len(KINDS))), strict=False):
        if kind not in whole:
            config, folder = configuration(KINDS[kind]), base / f"whole{kind}"
            started = time.perf_counter()
            finish(train_in_child(config, folder))
            seconds = time.perf_counter() - started
            whole[kind] = config, (folder / RESULT).read_text(), seconds
        config, expected, seconds = whole[kind]
        folder, kills = base / f"trial{trial}", 0
        for _ in range(chance.choice((1, 2))):
            after = chance.uniform(0, 0.9 * seconds)
            kills += not finish(train_in_child(config, folder), after=after)
        finish(train_in_child(config, folder))
        yield " ".join(KINDS[kind]), kills, (folder / RESULT).read_text() == expected


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="rewire prove-resume", description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    chosen = parser.parse_args(arguments)
    kills = equal = 0
    with tempfile.TemporaryDirectory() as base:
        for name, hits, same in prove(chosen.trials, seed=chosen.seed, base=Path(base)):
            kills, equal = kills + hits, equal + same
            print(f"{name}: {hits} kills, {'same bits' if same else 'DIFFERENT'}", flush=True)
    print(f"{equal} of {chosen.trials} trainings bitwise equal after {kills} kills")
    return 0 if equal == chosen.trials else 1
