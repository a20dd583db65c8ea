"""CIFAR-10 (Krizhevsky 2009) from this package, from official files, or downloaded."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rewire.data.embedded import load_embedded
from rewire.data.images import ImageSet
from rewire.errors import InputError, unknown_name
from rewire.files import check_size, read_bytes, writable_folder
from rewire.registry import DATASETS, Registry

BINARY_FOLDER = "cifar-10-batches-bin"
PYTHON_FOLDER = "cifar-10-batches-py"
SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
"""Hex SHA-256 of the official binary files."""
FILES = {
    "train": [f"data_batch_{number}.bin" for number in range(1, 6)],
    "test": ["test_batch.bin"],
}
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue plane
FILE_BYTES = 10_000 * RECORD
LARGEST_PYTHON = 2**25  # bytes; the official batches of the python version have 31 million
WAYS_OUT = (
    "set REWIRE_DATA or data.root to the folder that holds "
    f"{BINARY_FOLDER} or {PYTHON_FOLDER}, or use data.source=embedded"
)

SOURCES: Registry[Callable[[Path, str], ImageSet]] = Registry("data source")


@DATASETS.register("cifar10")
def load_cifar10(*, source: str, root: str | Path, split: str) -> ImageSet:
    """Load one official split of CIFAR-10, or the embedded part of it, verified by checksum.

    Args:
        source: `embedded`: 5,000 training and 1,000 test images inside this package.
            `folder`: the official files, ROOT/cifar-10-batches-bin (binary version) or else
            ROOT/cifar-10-batches-py (python version).
            `download`: as `folder` if the binary version is there, else through torchvision, which
            downloads the python version into ROOT unless it is there.
        root: ROOT; not used by `embedded`.
        split: "train" (50,000 images) or "test" (10,000 images).

    Returns:
        The images (N, 3, 32, 32) in the official order.

    Raises:
        InputError: for an unknown source or split; if a file is missing, truncated or damaged; if
            the download fails.
    """
    if split not in FILES:
        raise unknown_name("split", split, FILES)
    return SOURCES[source](Path(root).expanduser(), split)


@SOURCES.register("embedded")
def _load_embedded(root: Path, split: str) -> ImageSet:
    return load_embedded(split)


@SOURCES.register("folder")
def _load_folder(root: Path, split: str) -> ImageSet:
    if (root / BINARY_FOLDER).is_dir():
        return _load_binary(root, split)
    if (root / PYTHON_FOLDER).is_dir():
        return _load_python(root, split, download=False)
    raise InputError(
        f"no CIFAR-10 in data.root = '{root}': found neither {BINARY_FOLDER} nor {PYTHON_FOLDER}. "
        f"Allowed: {WAYS_OUT} or data.source=download."
    )


@SOURCES.register("download")
def _load_download(root: Path, split: str) -> ImageSet:
    if (root / BINARY_FOLDER).is_dir():
        return _load_binary(root, split)
    if (root / PYTHON_FOLDER).is_dir():
        with contextlib.suppress(InputError):  # what is damaged is downloaded again
            return _load_python(root, split, download=False)
    return _load_python(writable_folder(root), split, download=True)


def _load_binary(root: Path, split: str) -> ImageSet:
    files = [_read_verified(root / BINARY_FOLDER / name) for name in FILES[split]]
    records = [np.frombuffer(content, np.uint8).reshape(-1, RECORD) for content in files]
    pixels = np.concatenate([record[:, 1:] for record in records])
    labels = np.concatenate([record[:, 0] for record in records])
    return _image_set(pixels.reshape(-1, *SHAPE), labels)


def _read_verified(path: Path) -> bytes:
    """The content of an official binary file; `InputError` unless it is exactly that."""
    official = SHA256[path.name]
    try:
        content = read_bytes(path, at_most=FILE_BYTES)
    except OSError as error:
        found = error.strerror
    else:
        found = hashlib.sha256(content).hexdigest()
        if found == official:
            return content
        found = f"{len(content)} bytes with SHA-256 {found}"
    raise InputError(
        f"'{path}' is missing, truncated or damaged. Found: {found}. Allowed: the official file of "
        f"{FILE_BYTES} bytes with SHA-256 {official}; copy it again, or {WAYS_OUT}."
    )


def _load_python(root: Path, split: str, *, download: bool) -> ImageSet:
    # Imported here because it takes a second that the other sources need not pay.
    from torchvision.datasets import CIFAR10

    try:
        for name, _ in _python_files(CIFAR10):
            if (path := root / PYTHON_FOLDER / name).exists():
                check_size(path, at_most=LARGEST_PYTHON)  # before torchvision hashes it
        official = CIFAR10(root, train=split == "train", download=download)
    except (OSError, RuntimeError, HTTPException) as error:
        if download:
            raise InputError(
                f"cannot download CIFAR-10 into data.root = '{root}': {error}. "
                f"Allowed: a working network connection; without one, {WAYS_OUT}."
            ) from error
        raise InputError(
            f"{_damaged_python_file(CIFAR10, root)} Allowed: the official file; copy it again, or "
            f"{WAYS_OUT} or data.source=download."
        ) from error
    return _image_set(
        np.ascontiguousarray(official.data.transpose(0, 3, 1, 2)), np.array(official.targets)
    )


def _python_files(cifar10: Any) -> list[tuple[str, str]]:
    """Name and MD5 of every file of the python version."""
    meta = (cifar10.meta["filename"], cifar10.meta["md5"])
    return [*cifar10.train_list, *cifar10.test_list, meta]


def _damaged_python_file(cifar10: Any, root: Path) -> str:
    """A sentence about the first file of the python version that is not the official one."""
    folder = root / PYTHON_FOLDER
    for name, official in _python_files(cifar10):
        path = folder / name
        try:
            content = read_bytes(path, at_most=LARGEST_PYTHON)
            found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        except OSError as error:
            return f"'{path}' cannot be read. Found: {error.strerror}."
        if found != official:
            return (
                f"'{path}' is truncated or damaged. Found: {path.stat().st_size} bytes with MD5 "
                f"{found}, not {official}."
            )
    return f"'{folder}' cannot be read."


def _image_set(pixels: np.ndarray, labels: np.ndarray) -> ImageSet:
    return ImageSet(
        torch.from_numpy(pixels),
        torch.from_numpy(labels.astype(np.int64)),
        torch.arange(len(pixels)),
    )
