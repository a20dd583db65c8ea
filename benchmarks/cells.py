"""Stages run as a user runs them, in processes of their own, into a folder of the benchmark's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rewire.errors import InputError
from rewire.pipeline.commands import words_of


def run_python(*arguments: str, env: dict[str, str] | None = None) -> str:
    """Run `python ARGUMENTS` to its end; returns its output.

    Raises:
        InputError: with its last line, if it fails.
    """
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=os.environ | (env or {})
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise InputError(f"python {' '.join(arguments)} failed: {said[-1]}")
    return done.stdout


def run_stage(stage: str, *overrides: str, output: Path, env: dict[str, str] | None = None) -> str:
    """Run one stage, or with "-m" among the overrides a sweep of it, untracked."""
    where = [f"output={output.resolve()}", "tracking=off"]
    return run_python("-m", "rewire", *words_of(stage), *overrides, *where, env=env)


def trained_cell(overrides: Sequence[str], *, cache: Path) -> Path:
    """Folder of the network that stage `train` makes of these overrides; trained only once."""
    said = run_stage("train", *overrides, output=cache)
    # "wrote FOLDER", or "finished already: FOLDER (force=true runs it again)".
    line = said.strip().splitlines()[-1]
    return Path(line.removeprefix("wrote ").removeprefix("finished already: ").partition(" (")[0])
