"""The proof of exact resume: a few of its trials, and that it can fail."""

from __future__ import annotations

import os
import subprocess
import sys

import torch

from rewire.tools.prove_resume import digest_of


def prove(trials: int) -> subprocess.CompletedProcess:
    """In a process of its own: it forks, which a process with threads should not."""
    command = [sys.executable, "-m", "rewire", "prove-resume"]
    command += ["--trials", str(trials), "--seed", "3"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=env)


def test_killed_trainings_end_with_the_same_bits():
    done = prove(2)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.rpartition(", ")[2] for line in lines[:2]] == ["same bits"] * 2
    kills = sum(int(line.split(": ")[1].split()[0]) for line in lines[:2])
    assert kills >= 1
    assert lines[2] == f"2 of 2 trainings bitwise equal after {kills} kills"


def test_the_digest_sees_every_bit():
    def state():
        return {"a": torch.zeros(3), "b": [1.0, {"c": torch.tensor(True)}], "d": "text"}

    first = digest_of(state())
    assert digest_of(dict(reversed(state().items()))) == first
    changes = [
        {"a": -torch.zeros(3)},
        {"a": torch.zeros(3, dtype=torch.float64)},
        {"a": torch.zeros(3, 1)},
        {"b": [1.0 + 2**-52, {"c": torch.tensor(True)}]},
        {"b": [1.0, {"c": torch.tensor(False)}]},
        {"d": "Text"},
    ]
    assert len({first, *(digest_of(state() | change) for change in changes)}) == 7
