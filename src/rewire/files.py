"""Atomic files and the manifest that marks a finished cell."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import platform
import secrets
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rewire.errors import InputError

MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"  # of a cell
GAP = "n/a"  # read as a missing number by the usual CSV readers, unlike an empty text by any
LARGEST_TEXT = 2**28  # bytes of a JSON file; the largest that any stage writes has a few MB


def writable_folder(path: str | Path) -> Path:
    """Create `path` (with parents) and make sure that files can be written there.

    Raises:
        InputError: if it cannot be created, is a file, or refuses a file.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write to the output folder '{path}': {error.strerror}. "
            "Allowed: a folder that exists or can be created, with write permission."
        ) from error
    return path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved onto it when the block ends without an error.

    A reader sees the old file or the whole new one, also after a kill or a full disk. Whoever the
    umask allows may read it, whatever library wrote it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes of several machines may share the folder. The suffix stays last: matplotlib and
    # others choose the format by it.
    own = f"{platform.node()[:30]}-{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.stem}.{own}.tmp{path.suffix}")
    try:
        temporary.touch(exist_ok=False)
        mode = stat.S_IMODE(temporary.stat().st_mode)
        temporary.unlink()
        yield temporary
        os.chmod(temporary, mode)  # safetensors keeps its files to their owner
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk, where the system can do that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` atomically as indented JSON with a final newline; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; raises `InputError` if it is missing, damaged or far too large."""
    path = Path(path)
    try:
        return json.loads(read_bytes(path, at_most=LARGEST_TEXT).decode("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"missing file '{path}': run the stage that writes it first") from error
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is damaged or not JSON: {error}") from error


def check_size(path: str | Path, *, at_most: int) -> None:
    """Refuse what cannot be read to an end that is known: devices, pipes and too large files.

    Raises:
        OSError: if `path` is missing, is no regular file, or has more than `at_most` bytes.
    """
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if found.st_size > at_most:
        text = f"{found.st_size:,} bytes, more than the {at_most:,} that it can have"
        raise OSError(errno.EFBIG, text, str(path))


def read_bytes(path: str | Path, *, at_most: int) -> bytes:
    """The content of a file; raises `OSError` as `check_size` does, before anything is read."""
    check_size(path, at_most=at_most)
    return Path(path).read_bytes()


def check_unpacked(path: str | Path, *, at_most: int) -> None:
    """Refuse a zip file (npz) that says of itself that it unpacks to more than `at_most` bytes.

    What it says binds: no more is unpacked of an entry than its directory names.

    Raises:
        OSError: if it does, or as `check_size`; zipfile's own errors for a damaged file.
    """
    check_size(path, at_most=at_most)
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > at_most:
        text = f"{size:,} bytes unpacked, more than the {at_most:,} that it can have"
        raise OSError(errno.EFBIG, text, str(path))


def listed_file(folder: Path, name: str) -> Path:
    """A file of `folder` by its name in a manifest; `OSError` for what leads out of the folder."""
    if Path(name).name != name:
        raise OSError(errno.EINVAL, "not the name of a file in this folder", name)
    return folder / name


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's content; raises `OSError` for a device or a pipe."""
    check_size(path, at_most=sys.maxsize)
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(config: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a plain configuration, independent of key order."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def write_manifest(
    folder: str | Path,
    *,
    config: Mapping[str, Any],
    names: list[str],
    code: Mapping[str, str] | None = None,
    absent: Mapping[str, str] | None = None,
) -> None:
    """Mark `folder` as finished: the hashes of its files and of all that made them.

    Written last and atomically, so its presence means that everything else is whole.

    Args:
        folder: of the result.
        config: the configuration that made it.
        names: its files.
        code: file → hash of the code that made it (`rewire.sources.code_of`).
        absent: file → hash of those that belong to it and are not here: it is not whole, then.
    """
    folder = Path(folder)
    files = {name: sha256(folder / name) for name in sorted(names)}
    more = {"code": code, "absent": absent}
    manifest = {"config": fingerprint(config), "files": files}
    write_json(folder / MANIFEST, manifest | {k: dict(v) for k, v in more.items() if v})


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file; of a manifest without the code in it, which is no part of a result."""
    path = Path(path)
    if path.name != MANIFEST:
        return sha256(path)
    manifest = read_json(path)
    text = json.dumps({k: v for k, v in manifest.items() if k != "code"}, indent=2) + "\n"
    return hashlib.sha256(text.encode()).hexdigest()


def is_whole(folder: str | Path) -> bool:
    """Whether `folder` holds a finished and undamaged result."""
    folder = Path(folder)
    try:
        manifest = read_json(folder / MANIFEST)
        files = manifest["files"]
        there = all(sha256(listed_file(folder, name)) == digest for name, digest in files.items())
        return there and not manifest.get("absent")
    except (InputError, OSError, KeyError, TypeError, AttributeError):
        return False


def csv_text(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Rows under a header as CSV text; what is missing (None) is "n/a"."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([GAP if value is None else value for value in row] for row in rows)
    return buffer.getvalue()
