"""The check of all outs against dvc.lock, beside DVC itself in a small pipeline."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.small import run

from rewire.tools.verify_lock import main

PIPELINE = """
stages:
  first:
    matrix:
      cell: [a, b]
    cmd: python make.py ${item.cell}
    deps: [make.py, source]
    outs: ["out/${item.cell}.txt"]
  second:
    cmd: cp -r tree folder
    deps: [out/a.txt, tree]
    outs: [folder]
"""
# Ignored by name, by folder, by path below the root, and taken back.
IGNORE = "# comment\n__pycache__\n*.log\n!kept.log\n/tree/private/\nprovenance.json\n"


def dvc(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write(folder / "dvc.yaml", PIPELINE)
    write(folder / ".dvcignore", IGNORE)
    write(
        folder / "make.py",
        "import sys\nopen(f'out/{sys.argv[1]}.txt', 'w').write(sys.argv[1] * 9)\n",
    )
    write(folder / "source" / "one.txt", "1\r\n")
    write(folder / "source" / "__pycache__" / "x.pyc", "cache")
    # `B` sorts before `a`, and `a-b` between `a` and `a/b` only in some orders.
    for name in ("a/b.txt", "a-b.txt", "B.txt", "é.txt", "x.log", "kept.log", "private/key"):
        write(folder / "tree" / name, name)
    write(folder / "tree" / "a" / "provenance.json", "{}")
    (folder / "tree" / "empty").mkdir()
    (folder / "out").mkdir()
    dvc(folder, "init", "--no-scm", "-q")
    dvc(folder, "repro", "-q")
    return folder


@pytest.fixture
def pipeline(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "copy"))


def checked(folder: Path, capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(["--root", str(folder), *arguments])
    return code, *capsys.readouterr()


def test_what_dvc_has_just_written_is_whole(pipeline, capsys):
    code, out, _ = checked(pipeline, capsys)
    assert (code, out[:13]) == (0, "whole: all 3 ")
    code, out, _ = checked(pipeline, capsys, "--deps")
    assert (code, out[:13]) == (0, "whole: all 9 ")


def test_a_flipped_byte_that_dvc_does_not_see_is_found_and_can_be_repaired(pipeline, capsys):
    path = pipeline / "out" / "a.txt"
    assert dvc(pipeline, "status").strip().endswith("up to date.")  # DVC remembers the file now
    before = path.stat()
    path.write_bytes(b"A" + path.read_bytes()[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert dvc(pipeline, "status").strip().endswith("up to date.")

    code, out, _ = checked(pipeline, capsys)
    assert code == 1
    assert [line.split() for line in out.splitlines()[:3:2]] == [
        ["state", "stage", "path"],
        ["damaged", "first@a", "out/a.txt"],
    ]
    assert checked(pipeline, capsys, "--stage", "first@b")[0] == 0
    assert checked(pipeline, capsys, "--stage", "first")[0] == 1

    path.unlink()  # as the message says
    dvc(pipeline, "repro", "-q")
    assert checked(pipeline, capsys)[0] == 0


@pytest.mark.parametrize(
    ("name", "state"),
    [("folder/a/b.txt", "damaged"), ("folder", "missing"), ("out/b.txt", "missing")],
)
def test_deleted_files_and_folders(pipeline, capsys, name, state):
    path = pipeline / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    code, out, _ = checked(pipeline, capsys)
    stage, named = ("first@b", name) if name.startswith("out") else ("second", "folder")
    assert code == 1
    assert out.splitlines()[2].split() == [state, stage, named]
    assert len(out.splitlines()) == (5 if state == "damaged" else 4)


def test_only_files_that_dvc_hashes_count(pipeline, capsys):
    write(pipeline / "folder" / "new.log", "ignored")
    write(pipeline / "folder" / "__pycache__" / "x.txt", "ignored")
    assert checked(pipeline, capsys)[0] == 0
    write(pipeline / "folder" / "kept.log", "not ignored")
    assert checked(pipeline, capsys)[0] == 1


def test_dependencies_are_rehashed_on_request(pipeline, capsys):
    write(pipeline / "source" / "one.txt", "1\n")
    assert checked(pipeline, capsys)[0] == 0
    code, out, _ = checked(pipeline, capsys, "--deps")
    assert code == 1
    assert [line.split()[:3] for line in out.splitlines()[2:4]] == [
        ["changed", "first@a", "source"],
        ["changed", "first@b", "source"],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "missing file"),
        ("schema: '2.0'\nstages:\n  first@a:\n    outs:\n    - path: out/a.t", "damaged"),
        ("stages: [", "damaged"),
        ("schema: '2.0'\n", "damaged"),
        ("stages:\n  x:\n    outs:\n    - {path: o, md5: 0}\n", "not a lock file of DVC 3"),
    ],
)
def test_an_unreadable_lock_file_is_no_traceback(pipeline, capsys, text, message):
    lock = pipeline / "dvc.lock"
    lock.unlink() if text is None else lock.write_text(text)
    code, out, err = checked(pipeline, capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err


def test_a_stage_that_left_the_pipeline_is_not_missed(pipeline, capsys):
    shutil.rmtree(pipeline / "folder")
    assert checked(pipeline, capsys)[0] == 1
    left = PIPELINE.partition("  second:")[0]
    write(pipeline / "dvc.yaml", left)
    code, out, _ = checked(pipeline, capsys)
    assert (code, out[:13]) == (0, "whole: all 2 ")
    assert checked(pipeline, capsys, "--stage", "second")[0] == 2
    (pipeline / "dvc.yaml").unlink()  # a lock file alone
    assert checked(pipeline, capsys)[0] == 1


def test_an_unknown_stage_is_refused_with_the_nearest_name(pipeline, capsys):
    code, _, err = checked(pipeline, capsys, "--stage", "secnd")
    assert code == 2
    assert "Did you mean 'second'? Allowed: first, second." in err


def test_the_command_needs_neither_torch_nor_dvc(pipeline):
    script = (
        "import sys; from rewire.cli import main\n"
        "assert main(['check']) == 0\n"
        "assert not {'torch', 'dvc', 'hydra'} & set(sys.modules)\n"
    )
    result = run("-c", script, cwd=pipeline)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("whole: ")
