"""The CIFAR-10 subset inside this package: real images, losslessly packed into two tile sheets.

How the images were chosen, the file format and the source are in embedded/README.md;
`python -m rewire.data.make_embedded` makes the files.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rewire.data.images import ImageSet
from rewire.errors import InputError
from rewire.files import atomic_path

FOLDER = Path(__file__).with_name("embedded")
SIZES = {"train": 5000, "test": 1000}
SHA256 = {
    "train": "ceec90ac5a95a6b3fa5d38a7e58a98c721028b546aeaf14ca2050f3a74b9aff0",
    "test": "7b7a05151e9d49a51a26d90c5f1b8f4116b2bb3410ae8f1e22cc3bed45348c34",
}
"""`content_hash` of both splits."""
TABLE = "labels.npz"
TILE = 32
COLUMNS = 50


def content_hash(data: ImageSet) -> str:
    """Hex SHA-256 of the images, then the labels, then the indices.

    Images count as uint8 (N, C, H, W), labels and indices as little-endian int64.
    """
    digest = hashlib.sha256(data.images.cpu().contiguous().numpy().tobytes())
    for vector in (data.labels, data.indices):
        digest.update(vector.cpu().numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def load_embedded(split: str, *, folder: str | Path = FOLDER) -> ImageSet:
    """Read and verify the embedded images.

    Args:
        split: "train" (5,000 images) or "test" (1,000 images).
        folder: where the files are; the default is inside the package.

    Raises:
        InputError: if a file is missing or its content is not the documented one.
    """
    folder = Path(folder)
    sheet_path, table_path = folder / f"{split}.webp", folder / TABLE
    path = sheet_path
    try:
        with Image.open(sheet_path) as image:
            pixels = _from_sheet(np.asarray(image.convert("RGB")))
        path = table_path
        with np.load(table_path) as table:
            labels, indices = (table[f"{split}_{name}"] for name in ("labels", "indices"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not len(pixels) == len(labels) == len(indices):
        found = f"{len(pixels)} images, {len(labels)} labels and {len(indices)} indices"
        raise _damaged(sheet_path, found)
    data = ImageSet(
        torch.from_numpy(pixels),
        torch.from_numpy(labels.astype(np.int64)),
        torch.from_numpy(indices.astype(np.int64)),
    )
    if content_hash(data) != SHA256[split]:
        raise _damaged(sheet_path, f"content with SHA-256 {content_hash(data)}")
    return data


def save_embedded(splits: dict[str, ImageSet], *, folder: str | Path = FOLDER) -> None:
    """Write the tile sheets and the table of labels and indices that `load_embedded` reads.

    Args:
        splits: RGB images of 32 x 32 px by split name; their number is a multiple of 50.
        folder: where to write; made if it does not exist.
    """
    folder = Path(folder)
    table = {}
    for split, data in splits.items():
        with atomic_path(folder / f"{split}.webp") as path:
            sheet = Image.fromarray(_to_sheet(data.images.numpy()))
            sheet.save(path, lossless=True, quality=100, method=6)
        table[f"{split}_labels"] = data.labels.numpy().astype(np.uint8)
        table[f"{split}_indices"] = data.indices.numpy().astype(np.uint16)
    with atomic_path(folder / TABLE) as path:
        np.savez_compressed(path, **table)


def _to_sheet(images: np.ndarray) -> np.ndarray:
    """Images (N, 3, 32, 32), N a multiple of 50 -> one picture (N / 50 * 32, 1600, 3), row-wise."""
    tiles = images.reshape(-1, COLUMNS, 3, TILE, TILE).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(tiles).reshape(-1, COLUMNS * TILE, 3)


def _from_sheet(sheet: np.ndarray) -> np.ndarray:
    """The inverse of `_to_sheet`; ValueError if the picture has another shape."""
    tiles = sheet.reshape(-1, TILE, COLUMNS, TILE, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles).reshape(-1, 3, TILE, TILE)


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        f"the embedded CIFAR-10 file '{path}' is missing or damaged. Found: {found}. "
        "Allowed: the file that comes with this package; install the package again or check the "
        "file out again."
    )
