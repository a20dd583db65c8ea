"""MNIST (LeCun, Cortes, Burges 1998) from this package, from official files, or downloaded."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch

from rewire.data.embedded import load_embedded
from rewire.data.images import ImageSet
from rewire.errors import InputError, unknown_name
from rewire.files import check_size, writable_folder
from rewire.registry import DATASETS, Registry

FOLDER = "MNIST/raw"
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Hex SHA-256 of the official files, uncompressed."""
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""The images and the labels of each split."""
SHAPE = (1, 28, 28)
IMAGES_HEADER, LABELS_HEADER = 16, 8  # magic number, then 4 bytes per dimension
LARGEST = IMAGES_HEADER + 60_000 * 28 * 28  # bytes of an official file, uncompressed
WAYS_OUT = (
    f"set REWIRE_DATA or data.root to the folder that holds {FOLDER}, or use data.source=embedded"
)

SOURCES: Registry[Callable[[Path, str], ImageSet]] = Registry("data source")


@DATASETS.register("mnist")
def load_mnist(*, source: str, root: str | Path, split: str) -> ImageSet:
    """Load one official split of MNIST, or the embedded part of it, verified by checksum.

    Args:
        source: `embedded`: 10,000 training and 2,000 test images inside this package.
            `folder`: the official idx files in ROOT/MNIST/raw, each as it is or as `.gz`.
            `download`: as `folder` if the files of the split are there, else through torchvision,
            which downloads them to that place.
        root: ROOT; not used by `embedded`.
        split: "train" (60,000 images) or "test" (10,000 images).

    Returns:
        The images (N, 1, 28, 28) in the official order.

    Raises:
        InputError: for an unknown source or split; if a file is missing, truncated or damaged; if
            the download fails.
    """
    if split not in FILES:
        raise unknown_name("split", split, FILES)
    return SOURCES[source](Path(root).expanduser(), split)


@SOURCES.register("embedded")
def _load_embedded(root: Path, split: str) -> ImageSet:
    return load_embedded(split, dataset="mnist")


@SOURCES.register("folder")
def _load_folder(root: Path, split: str) -> ImageSet:
    if not (root / FOLDER).is_dir():
        raise InputError(
            f"no MNIST in data.root = '{root}': found no {FOLDER}. "
            f"Allowed: {WAYS_OUT} or data.source=download."
        )
    images, labels = (_read_verified(root / FOLDER / name) for name in FILES[split])
    pixels = np.frombuffer(images, np.uint8, offset=IMAGES_HEADER).reshape(-1, *SHAPE)
    classes = np.frombuffer(labels, np.uint8, offset=LABELS_HEADER)
    return ImageSet(
        torch.from_numpy(pixels.copy()),
        torch.from_numpy(classes.astype(np.int64)),
        torch.arange(len(pixels)),
    )


@SOURCES.register("download")
def _load_download(root: Path, split: str) -> ImageSet:
    if not all(_stored(root / FOLDER / name).exists() for name in FILES[split]):
        # Imported here because it takes a second that the other sources need not pay.
        from torchvision.datasets import MNIST

        try:
            MNIST(writable_folder(root), download=True)
        except InputError:
            raise
        except (OSError, RuntimeError, ValueError, HTTPException) as error:
            found = " ".join(str(error).split()).rstrip(".")  # torchvision writes several lines
            raise InputError(
                f"cannot download MNIST into data.root = '{root}': {found}. "
                f"Allowed: a working network connection; without one, {WAYS_OUT}."
            ) from error
    return _load_folder(root, split)


def _stored(path: Path) -> Path:
    """`path`, or `path`.gz if only that exists."""
    packed = path.with_name(path.name + ".gz")
    return packed if packed.exists() and not path.exists() else path


def _read_verified(path: Path) -> bytes:
    """The uncompressed content of an official file; `InputError` unless it is exactly that."""
    official = SHA256[path.name]
    stored = _stored(path)
    try:
        check_size(stored, at_most=LARGEST)
        if stored == path:
            content = stored.read_bytes()
        else:
            with gzip.open(stored) as unpacked:
                content = unpacked.read(LARGEST + 1)  # no further: it may have no end
    except (OSError, EOFError, struct.error, zlib.error) as error:
        found = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    else:
        found = hashlib.sha256(content).hexdigest()
        if found == official:
            return content
        found = f"{len(content)} bytes with SHA-256 {found}"
        if len(content) > LARGEST:
            found = f"more than {LARGEST} bytes"
    raise InputError(
        f"'{stored}' is missing, truncated or damaged. Found: {found}. Allowed: the official file, "
        f"uncompressed with SHA-256 {official}, or as .gz; copy it again, or {WAYS_OUT}."
    )
