"""Atomic files, JSON that fails readably, and manifests that notice every change."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import platform
import stat

import numpy as np
import pytest
from safetensors.numpy import save_file

from rewire.errors import InputError
from rewire.files import (
    LARGEST_TEXT,
    MANIFEST,
    atomic_path,
    content_hash,
    fingerprint,
    is_whole,
    read_bytes,
    read_json,
    sha256,
    writable_folder,
    write_json,
    write_manifest,
    write_text,
)

CONFIG = {"sparsity": 0.99, "data": {"source": "embedded", "sizes": [1, 2]}, "seed": 0}


def test_a_finished_block_replaces_the_file(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    for text in ("first", "second"):
        with atomic_path(path) as temporary:
            assert temporary != path
            assert temporary.parent == path.parent
            assert temporary.suffix == path.suffix
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("half-way"), KeyboardInterrupt("half-way")])
def test_an_exception_leaves_the_old_file_and_no_temporary(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(type(error), match="half-way"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_exception_creates_no_file(tmp_path):
    with pytest.raises(ValueError, match="early"), atomic_path(tmp_path / "file.txt"):
        raise ValueError("early")
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    for value in ({"a": float("nan")}, {"a": float("inf")}):
        with pytest.raises(ValueError, match="JSON compliant"):
            write_json(path, value)
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_text_and_json_round_trip(tmp_path):
    write_text(tmp_path / "a.txt", "θ > 0\n")
    assert (tmp_path / "a.txt").read_bytes() == "θ > 0\n".encode()
    value = {"b": [1, 2.5, None, True], "a": {"ε": "8/255"}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert (tmp_path / "a.json").read_text().endswith("}\n")


def test_reading_json_that_is_not_there_or_damaged(tmp_path):
    with pytest.raises(InputError, match=r"missing file '.*none\.json'"):
        read_json(tmp_path / "none.json")
    path = tmp_path / "bad.json"
    for content in (b"", b'{"a": 1', b"\xff\xfe\x00", b"words"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.json' is damaged or not JSON"):
            read_json(path)
    with pytest.raises(InputError, match="is damaged or not JSON"):
        read_json(tmp_path)


def test_writable_folder_creates_parents_and_leaves_nothing(tmp_path):
    folder = writable_folder(str(tmp_path / "a" / "b"))
    assert folder == tmp_path / "a" / "b"
    assert folder.is_dir()
    (folder / "kept").write_text("x")
    assert writable_folder(folder) == folder
    assert [path.name for path in folder.iterdir()] == ["kept"]


def test_a_folder_that_is_a_file_or_below_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"cannot write to the output folder '.*file"):
            writable_folder(path)
    assert (tmp_path / "file").read_text() == "x"


def test_a_folder_that_refuses_files_is_named(tmp_path, monkeypatch):
    def refuse(**kwargs):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr("rewire.files.tempfile.TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"cannot write .*Permission denied.*write permission"):
        writable_folder(tmp_path)


def test_hashes(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()
    reordered = {"seed": 0, "data": {"sizes": [1, 2], "source": "embedded"}, "sparsity": 0.99}
    assert fingerprint(reordered) == fingerprint(CONFIG)
    for other in (CONFIG | {"seed": 1}, CONFIG | {"extra": None}, {}):
        assert fingerprint(other) != fingerprint(CONFIG)


@pytest.fixture
def cell(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    write_manifest(tmp_path, config=CONFIG, names=["weights.safetensors", "metrics.json"])
    return tmp_path


def test_a_manifest_marks_a_finished_cell(cell):
    assert is_whole(cell)
    assert is_whole(str(cell))
    (cell / "log.txt").write_text("not part of the result")
    assert is_whole(cell)
    manifest = json.loads((cell / MANIFEST).read_text())
    assert list(manifest["files"]) == ["metrics.json", "weights.safetensors"]


def test_a_manifest_does_not_depend_on_the_order_of_names(cell):
    before = (cell / MANIFEST).read_bytes()
    write_manifest(cell, config=CONFIG, names=["metrics.json", "weights.safetensors"])
    assert (cell / MANIFEST).read_bytes() == before


def test_a_manifest_of_missing_files_is_not_written(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_manifest(tmp_path, config=CONFIG, names=["nothing"])
    assert list(tmp_path.iterdir()) == []


def test_the_code_is_in_the_manifest_and_not_in_its_content(cell):
    before, content = sha256(cell / MANIFEST), content_hash(cell / MANIFEST)
    assert content == before  # as manifests without code have always been named by later stages
    names = ["weights.safetensors", "metrics.json"]
    for code in ({"a.py": "1"}, {"a.py": "2"}):
        write_manifest(cell, config=CONFIG, names=names, code=code)
        assert json.loads((cell / MANIFEST).read_text())["code"] == code
        assert sha256(cell / MANIFEST) != before
        assert content_hash(cell / MANIFEST) == content
    assert content_hash(cell / "metrics.json") == sha256(cell / "metrics.json")


def test_a_changed_or_missing_file_is_noticed(cell):
    (cell / "weights.safetensors").write_bytes(b"weightz")
    assert not is_whole(cell)
    (cell / "weights.safetensors").write_bytes(b"weights")
    assert is_whole(cell)
    (cell / "metrics.json").unlink()
    assert not is_whole(cell)


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", "null", "3", "{}", '{"config": 1}', '{"config": "x"}', "FILES"]
)
def test_a_damaged_manifest_is_unfinished(cell, content):
    path = cell / MANIFEST
    if content is None:
        path.unlink()
    elif content == "FILES":
        path.write_text(json.dumps({"config": fingerprint(CONFIG), "files": ["metrics.json"]}))
    else:
        path.write_text(content)
    assert not is_whole(cell)


def test_a_folder_that_is_not_there_is_unfinished(tmp_path):
    assert not is_whole(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["/dev/zero", "../outside", "pipe", "sub/file", ".."])
def test_a_manifest_cannot_make_us_read_what_has_no_end_or_is_elsewhere(cell, name):
    content = b"outside"
    (cell.parent / "outside").write_bytes(content)
    (cell / "sub").mkdir()
    (cell / "sub" / "file").write_bytes(content)
    os.mkfifo(cell / "pipe")
    files = {name: hashlib.sha256(content).hexdigest()}
    (cell / MANIFEST).write_text(json.dumps({"config": fingerprint(CONFIG), "files": files}))
    assert not is_whole(cell)


def test_devices_pipes_and_far_too_large_files_are_refused_before_they_are_read(tmp_path):
    (tmp_path / "endless").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for name in ("endless", "pipe"):
        for read in (sha256, lambda path: read_bytes(path, at_most=10)):
            with pytest.raises(OSError, match="not a regular file"):
                read(tmp_path / name)
        with pytest.raises(InputError, match="not a regular file"):
            read_json(tmp_path / name)
    with open(tmp_path / "large.json", "wb") as handle:
        handle.truncate(LARGEST_TEXT + 1)  # takes no room
    with pytest.raises(InputError, match="268,435,457 bytes, more than the 268,435,456 that"):
        read_json(tmp_path / "large.json")
    (tmp_path / "file").write_bytes(b"ten bytes.")
    assert read_bytes(tmp_path / "file", at_most=10) == b"ten bytes."
    with pytest.raises(OSError, match="10 bytes, more than the 9"):
        read_bytes(tmp_path / "file", at_most=9)
    with pytest.raises(IsADirectoryError):
        sha256(tmp_path)


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_files_are_for_whom_the_umask_allows_whatever_library_writes_them(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "text.txt", "text")
        with atomic_path(tmp_path / "weights.safetensors") as temporary:
            save_file({"weights": np.zeros(3, np.float32)}, temporary)
        with atomic_path(tmp_path / "archive.npz") as temporary:
            np.savez(temporary, weights=np.zeros(3))
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~umask}


def test_temporary_names_differ_between_machines_and_from_time_to_time(tmp_path, monkeypatch):
    found = []
    for host in ("node1", "node1", "node2.example.org"):
        monkeypatch.setattr(platform, "node", lambda host=host: host)
        with atomic_path(tmp_path / "weights.safetensors") as temporary:
            found.append(temporary.name)
            temporary.write_bytes(b"x")
    assert len(set(found)) == 3
    for name, host in zip(found, ("node1", "node1", "node2.example.org"), strict=True):
        assert fnmatch.fnmatch(name, f".weights.{host}-????????.tmp.safetensors")
