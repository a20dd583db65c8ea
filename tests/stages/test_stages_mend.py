"""A lock file cut off anywhere, as by a kill of DVC, is readable for DVC after mending."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stages.small import ROOT

from rewire.stages.check import main as check
from rewire.stages.check import read_lock
from rewire.stages.lock import fcntl
from rewire.stages.mend import AT_WORK, IN_USE, main, mend, mend_lock

PIPELINE = """
vars: [params.yaml]
stages:
  first:
    matrix: {cell: [a, b]}
    cmd: cp source ${item.cell}.txt
    deps: [source]
    outs: ["${item.cell}.txt"]
  second:
    cmd: cat a.txt b.txt > both.txt
    params: [axes]
    deps: [a.txt, b.txt]
    outs: [both.txt]
"""
LOCK = (ROOT / "dvc.lock").read_bytes()


def dvc(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text("axes: {cells: [a, b]}\n")
    (folder / "source").write_text("text")
    assert dvc(folder, "init", "--no-scm", "-q").returncode == 0
    assert dvc(folder, "repro", "-q").returncode == 0
    return folder


def test_dvc_goes_on_from_what_is_left(made, tmp_path, capsys):
    whole = (made / "dvc.lock").read_bytes()
    # Emptied; behind a key of the last stage; in its last hash.
    for cut in (0, whole.rindex(b"params.yaml:") + 12, whole.rindex(b"md5: ") + 10):
        folder = tmp_path / str(cut)
        shutil.copytree(made, folder)
        (folder / "dvc.lock").write_bytes(whole[:cut])
        (folder / IN_USE).write_text("")  # as cut off as it gets
        assert dvc(folder, "repro", "-q").returncode != 0, "DVC needs help"
        assert main(["--root", str(folder)]) == 0
        assert capsys.readouterr().out.count("mended") == 2
        result = dvc(folder, "repro", "-q")
        assert result.returncode == 0, (cut, result.stderr)
        assert (folder / "dvc.lock").read_bytes() == whole
        assert check(["--root", str(folder)]) == 0


def test_whole_files_are_left_alone(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "copy")
    (folder / IN_USE).write_text(json.dumps({"read": {}, "write": {}}))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert mend(folder) == []
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert mend(tmp_path) == []  # no pipeline at all


def test_nothing_is_cut_while_dvc_writes(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "copy")
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages:\n  first@a:\n    cm")
    with open(folder / AT_WORK, "ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert mend(folder) == []
    assert mend(folder) == [f"{folder / 'dvc.lock'}: no stage was whole, deleted"]


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, len(LOCK) - 1))
def test_every_prefix_of_the_real_lock_file_keeps_its_whole_stages(cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("cut") / "dvc.lock"
    path.write_bytes(LOCK[:cut])
    mend_lock(path)
    text = path.read_bytes() if path.is_file() else b""
    assert LOCK.startswith(text)
    stages = sum(line[:2] == b"  " and line[2:3] != b" " for line in LOCK[:cut].split(b"\n")[:-1])
    kept = {entry.stage for entry in read_lock(path)} if text else set()
    assert len(kept) >= stages - 1
