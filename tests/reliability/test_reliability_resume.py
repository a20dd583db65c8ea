"""Trainings killed at random moments: all hundred must end with the bits of undisturbed ones."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.reliability
def test_a_hundred_killed_trainings():
    command = [sys.executable, "-m", "rewire", "prove-resume", "--trials", "100"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("100 of 100 trainings bitwise equal after ")
