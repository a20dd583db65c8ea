"""Provenance: plain values that can be written beside a result, on any machine."""

from __future__ import annotations

import json
import subprocess
from importlib import metadata

import pytest
import torch

from rewire.engine.library import instruction_set
from rewire.pipeline import provenance as module
from rewire.provenance import Provenance


def test_values_are_plain_and_true():
    values = module.provenance(seconds=1.23456)
    written = json.loads(json.dumps(values.as_json()))
    assert Provenance.of(written, file="provenance.json") == values
    assert list(written)[:3] == ["cpu", "threads", "gpu"]
    assert values.seconds == 1.23
    assert values.versions["torch"] == metadata.version("torch")
    assert values.threads == torch.get_num_threads()
    assert (values.gpu is None) == (not torch.cuda.is_available())
    assert values.cpu
    assert values.sparse_engine == instruction_set()
    assert module.provenance().seconds is None


def test_every_machine_is_named_in_the_order_in_which_it_worked():
    there = {"NVIDIA X with Intel Y": 60.004, "Intel Z": 3.0}
    values = module.provenance(seconds=100.0, elsewhere=there)
    assert values.elsewhere == {"NVIDIA X with Intel Y": 60.0, "Intel Z": 3.0}
    alone = module.provenance(seconds=37.0, elsewhere={})
    assert alone.elsewhere is None
    assert alone.machine.startswith(module.machine() + ", ")  # and its threads
    assert values.machine == f"NVIDIA X with Intel Y, then Intel Z, then {alone.machine}"


def test_packages_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-package-of-this-name"))
    assert set(module.provenance().versions) == {"python", "numpy"}


@pytest.mark.parametrize(
    "error", [FileNotFoundError("git"), subprocess.CalledProcessError(128, [])]
)
def test_no_commit_without_git_or_checkout(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(module.subprocess, "run", fail)
    assert module.commit() is None
    assert module.provenance().commit is None


def test_commit_of_a_checkout(tmp_path, monkeypatch):
    def git(*arguments):
        who = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"]
        command = ["git", *who, *arguments]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    (tmp_path / "provenance.py").write_text("x")
    for arguments in (["init"], ["add", "provenance.py"], ["commit", "-m", "first"], ["tag", "v1"]):
        git(*arguments)
    head = git("rev-parse", "HEAD")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "provenance.py"))
    assert module.commit() == head[:12]  # the tag does not replace the hash
    (tmp_path / "provenance.py").write_text("changed")
    assert module.commit() == head[:12] + "+"
    # An export of this package in somebody's repository is no checkout of it.
    (tmp_path / "export").mkdir()
    exported = tmp_path / "export" / "provenance.py"
    exported.write_text("x")
    monkeypatch.setattr(module, "__file__", str(exported))
    assert module.commit() is None


def test_a_machine_without_cpuinfo_still_has_a_name(monkeypatch):
    def missing(self, *args, **kwargs):
        raise FileNotFoundError(self)

    monkeypatch.setattr(module.Path, "read_text", missing)
    monkeypatch.setattr(module.platform, "processor", lambda: "")
    assert module.cpu_name() == module.platform.machine()
