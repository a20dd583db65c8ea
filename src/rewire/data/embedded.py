"""The image subsets inside this package: real images, losslessly packed into tile sheets.

How the images were chosen, the file format and the source are in embedded/README.md;
`python -m rewire.data.make_embedded` makes the files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rewire.data.images import ImageSet
from rewire.errors import InputError, unknown_name
from rewire.files import atomic_path, check_size, check_unpacked

FOLDER = Path(__file__).with_name("embedded")
SIZES = {"train": 5000, "test": 1000}
SHA256 = {
    "train": "ceec90ac5a95a6b3fa5d38a7e58a98c721028b546aeaf14ca2050f3a74b9aff0",
    "test": "7b7a05151e9d49a51a26d90c5f1b8f4116b2bb3410ae8f1e22cc3bed45348c34",
}
"""`content_hash` of both splits of CIFAR-10."""
TABLE = "labels.npz"
LARGEST_TABLE, LARGEST_SHEET = 2**20, 2**24  # bytes; Pillow itself refuses too many pixels
TILE = 32
COLUMNS = 50


@dataclass(frozen=True)
class Subset:
    """How one data set's images are packed.

    Attributes:
        title: the data set's name in messages.
        prefix: of the file names.
        tile: height and width of an image in px.
        mode: Pillow's mode of a sheet, "RGB" or "L" (grey).
        sizes: number of images by split.
        sha256: `content_hash` by split.
    """

    title: str
    prefix: str
    tile: int
    mode: str
    sizes: dict[str, int]
    sha256: dict[str, str]


SUBSETS = {
    "cifar10": Subset("CIFAR-10", "", TILE, "RGB", SIZES, SHA256),
    "mnist": Subset(
        "MNIST",
        "mnist_",
        28,
        "L",
        {"train": 10_000, "test": 2000},
        {
            "train": "e3335b54d42e84ec8d33a0b18c00b2d1d8209129c6dd837023890368d6f8f280",
            "test": "3430a3f3767f88793c470daa4fd95ddb5061522e778b5320a9c464cc4ecf939b",
        },
    ),
}


def subset(dataset: str) -> Subset:
    """The entry of `SUBSETS`; raises `InputError` for an unknown name."""
    if dataset not in SUBSETS:
        raise unknown_name("dataset", dataset, SUBSETS)
    return SUBSETS[dataset]


def content_hash(data: ImageSet) -> str:
    """Hex SHA-256 of the images, then the labels, then the indices.

    Images count as uint8 (N, C, H, W), labels and indices as little-endian int64.
    """
    digest = hashlib.sha256(data.images.cpu().contiguous().numpy().tobytes())
    for vector in (data.labels, data.indices):
        digest.update(vector.cpu().numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def load_embedded(split: str, *, dataset: str = "cifar10", folder: str | Path = FOLDER) -> ImageSet:
    """Read and verify the embedded images.

    Args:
        split: "train" (CIFAR-10 5,000 images, MNIST 10,000) or "test" (1,000; 2,000).
        dataset: "cifar10" (images (N, 3, 32, 32)) or "mnist" ((N, 1, 28, 28)).
        folder: where the files are; the default is inside the package.

    Raises:
        InputError: for an unknown dataset, or if a file is missing or its content is not the
            documented one.
    """
    packed, folder = subset(dataset), Path(folder)
    sheet_path, table_path = folder / f"{packed.prefix}{split}.webp", folder / _table(packed)
    path = sheet_path
    try:
        check_size(sheet_path, at_most=LARGEST_SHEET)
        with Image.open(sheet_path) as image:
            pixels = _from_sheet(np.asarray(image.convert(packed.mode)), packed.tile)
        path = table_path
        check_unpacked(table_path, at_most=LARGEST_TABLE)
        with np.load(table_path) as table:
            labels, indices = (table[f"{split}_{name}"] for name in ("labels", "indices"))
    except Exception as error:  # decoders raise all kinds for damaged bytes
        raise _damaged(packed, path, f"{type(error).__name__}: {error}") from error
    if not len(pixels) == len(labels) == len(indices):
        found = f"{len(pixels)} images, {len(labels)} labels and {len(indices)} indices"
        raise _damaged(packed, sheet_path, found)
    data = ImageSet(
        torch.from_numpy(pixels),
        torch.from_numpy(labels.astype(np.int64)),
        torch.from_numpy(indices.astype(np.int64)),
    )
    if content_hash(data) != packed.sha256[split]:
        raise _damaged(packed, sheet_path, f"content with SHA-256 {content_hash(data)}")
    return data


def save_embedded(
    splits: dict[str, ImageSet], *, dataset: str = "cifar10", folder: str | Path = FOLDER
) -> None:
    """Write the tile sheets and the table of labels and indices that `load_embedded` reads.

    Args:
        splits: images of the data set's size by split name; their number is a multiple of 50.
        dataset: a name in `SUBSETS`.
        folder: where to write; made if it does not exist.
    """
    packed, folder = subset(dataset), Path(folder)
    table: dict[str, Any] = {}
    for split, data in splits.items():
        with atomic_path(folder / f"{packed.prefix}{split}.webp") as path:
            sheet = Image.fromarray(_to_sheet(data.images.numpy()))
            sheet.save(path, lossless=True, quality=100, method=6)
        table[f"{split}_labels"] = data.labels.numpy().astype(np.uint8)
        table[f"{split}_indices"] = data.indices.numpy().astype(np.uint16)
    with atomic_path(folder / _table(packed)) as path:
        np.savez_compressed(path, **table)


def _table(packed: Subset) -> str:
    return f"{packed.prefix}{TABLE}"


def _to_sheet(images: np.ndarray) -> np.ndarray:
    """Images (N, C, t, t), N a multiple of 50 -> one picture (N / 50 * t, 50 t, C), row-wise.

    A grey picture (C = 1) has no third axis.
    """
    channels, tile = images.shape[1:3]
    tiles = images.reshape(-1, COLUMNS, channels, tile, tile).transpose(0, 3, 1, 4, 2)
    sheet = np.ascontiguousarray(tiles).reshape(-1, COLUMNS * tile, channels)
    return sheet if channels > 1 else sheet[:, :, 0]


def _from_sheet(sheet: np.ndarray, tile: int = TILE) -> np.ndarray:
    """The inverse of `_to_sheet`; ValueError if the picture has another shape."""
    channels = sheet.shape[2] if sheet.ndim == 3 else 1
    tiles = sheet.reshape(-1, tile, COLUMNS, tile, channels).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles).reshape(-1, channels, tile, tile)


def _damaged(packed: Subset, path: Path, found: str) -> InputError:
    return InputError(
        f"the embedded {packed.title} file '{path}' is missing or damaged. Found: {found}. "
        "Allowed: the file that comes with this package; install the package again or check the "
        "file out again."
    )
