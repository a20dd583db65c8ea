"""A lock file cut off anywhere, as by a kill of DVC, is readable for DVC after mending."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from helpers.small import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from rewire.tools.repair_lock import AT_WORK, IN_USE, main, mend, mend_lock
from rewire.tools.verify_lock import main as check
from rewire.tools.verify_lock import read_lock

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


def test_an_option_that_is_null_is_no_cut(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "copy")
    lock = folder / "dvc.lock"
    text = lock.read_text().replace(
        "    cmd:", "    params:\n      params.yaml:\n        axes:\n    cmd:", 1
    )
    lock.write_text(text)
    assert mend(folder) == []
    assert lock.read_text() == text


def test_nothing_is_cut_while_dvc_writes(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "copy")
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages:\n  first@a:\n    cm")
    with open(folder / AT_WORK, "ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert mend(folder) == []
    assert mend(folder) == [f"{folder / 'dvc.lock'}: no stage was whole, deleted"]


def in_use(folder, pid, *, path="both.txt"):
    """DVC's record, as a killed `dvc repro` leaves it."""
    info = {"pid": pid, "cmd": f"{folder}/bin/dvc repro"}
    record = {"write": {str(folder / path): info}, "read": {str(folder / "a.txt"): [info]}}
    (folder / IN_USE).write_text(json.dumps(record))


def test_the_number_of_a_killed_dvc_may_be_that_of_another_process(made, tmp_path, capsys):
    folder = shutil.copytree(made, tmp_path / "copy")
    (folder / "params.yaml").write_text("axes: {cells: [a, b], more: 1}\n")  # `second` has to run
    sleep = "import time; time.sleep(600)"
    other = subprocess.Popen([sys.executable, "-c", sleep, "/rewire/dvc/notes", "repro"])
    try:
        in_use(folder, other.pid)
        refused = dvc(folder, "repro")
        assert refused.returncode != 0, "DVC needs help"
        assert "busy" in refused.stderr
        assert main(["--root", str(folder)]) == 0
        assert f"not in use any more by process {other.pid}" in capsys.readouterr().out
        result = dvc(folder, "repro", "-q")
        assert result.returncode == 0, result.stderr
    finally:
        other.kill()
        other.wait()
    in_use(folder, other.pid)  # nobody has the number
    assert len(mend(folder)) == 1
    assert json.loads((folder / IN_USE).read_text()) == {"write": {}, "read": {}}


def test_a_dvc_at_work_keeps_what_it_uses(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "copy")
    text = (folder / "dvc.yaml").read_text()
    (folder / "dvc.yaml").write_text(
        text.replace("cat a.txt", "touch begun && sleep 600; cat a.txt")
    )
    run = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "-q"], cwd=folder, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 60
        while not (folder / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        before = (folder / IN_USE).read_text()
        assert str(run.pid) in before
        assert mend(folder) == []
        assert (folder / IN_USE).read_text() == before
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert mend(folder) == [f"{folder / IN_USE}: not in use any more by process {run.pid}"]


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
