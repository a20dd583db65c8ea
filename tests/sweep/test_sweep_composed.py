"""A sweep composes each job once, says so if it takes long, and can be interrupted there."""

from __future__ import annotations

from helpers.small import run

from rewire.sweep import composed
from rewire.sweep.composed import ComposedOnce

# A sweep whose jobs do not run; what happens at every composition is put in the place of ACTION.
SWEEP = """
import os, signal, sys
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from rewire.cli import launch
from rewire.sweep.local import Jobs

compose, calls = ConfigLoaderImpl.load_sweep_config, []

def counted(*arguments, **options):
    calls.append(1)
    ACTION
    return compose(*arguments, **options)

ConfigLoaderImpl.load_sweep_config = counted
Jobs.run = lambda self, jobs: [{"status": "failed", "error": "not run"} for job in jobs]
# A child of a script in the background finds interrupts ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    launch("train", ["-m", "seed=0,1,2", "output=" + sys.argv[1]])
finally:
    print("compositions:", len(calls))
"""


def test_every_job_of_a_sweep_is_composed_once(tmp_path):
    ran = run("-c", SWEEP.replace("ACTION", "pass"), str(tmp_path))
    assert "compositions: 3" in ran.stdout, ran.stdout + ran.stderr
    assert ran.returncode == 1  # the jobs that were not run
    assert "3 jobs" in ran.stdout


def test_an_interrupt_while_jobs_are_composed_is_one_line(tmp_path):
    action = "len(calls) == 2 and os.kill(os.getpid(), signal.SIGINT)"
    ran = run("-c", SWEEP.replace("ACTION", action), str(tmp_path))
    assert ran.returncode == 130
    assert ran.stderr == "error: interrupted\n"
    assert "compositions: 2" in ran.stdout


def test_long_compositions_are_told(monkeypatch, capsys):
    class Loader:
        other = "its own"

        def load_sweep_config(self, master, overrides):
            return list(overrides)

    monkeypatch.setattr(composed, "EVERY", -1.0)
    loader = ComposedOnce(Loader())
    first = loader.load_sweep_config(None, ["seed=1"])
    assert first == ["seed=1"]
    assert loader.load_sweep_config(None, ("seed=1",)) is first
    assert loader.load_sweep_config(None, ["seed=2"]) == ["seed=2"]
    assert loader.other == "its own"
    out, told = capsys.readouterr()
    assert out == ""  # where commands are printed to be run
    assert told.splitlines() == [f"composing the jobs of the sweep: {n} so far" for n in (1, 2)]
