"""Per-image results in one small file: paired tests need no second run of the attack."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rewire.errors import InputError
from rewire.files import atomic_path, check_unpacked

LARGEST = 2**26  # bytes unpacked; 10,000 test images take 0.3 MB


def save_ledger(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named per-image arrays as a compressed npz; equal arrays give equal bytes.

    Args:
        path: file to write, atomically.
        arrays: one-dimensional arrays of one length, among them `indices`.

    Raises:
        InputError: for arrays that are not one entry per image.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    _check(arrays, f"the ledger '{path}'")
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(arrays):
            # A fixed time and system: `numpy.savez` writes the clock into the file.
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            with archive.open(entry, "w") as handle:
                np.lib.format.write_array(handle, arrays[name], version=(1, 0), allow_pickle=False)


def load_ledger(path: str | Path) -> dict[str, np.ndarray]:
    """Read what `save_ledger` wrote.

    Raises:
        InputError: if the file is missing or damaged, or is no ledger.
    """
    path = Path(path)
    try:
        check_unpacked(path, at_most=LARGEST)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise InputError(f"missing ledger '{path}': run the evaluation that writes it") from error
    except Exception as error:  # on damaged bytes zipfile and NumPy raise all kinds
        raise InputError(f"the ledger '{path}' is damaged or not an npz file: {error}") from error
    _check(arrays, f"the ledger '{path}'")
    return arrays


def _check(arrays: Mapping[str, np.ndarray], what: str) -> None:
    shapes = {name: array.shape for name, array in arrays.items()}
    if "indices" not in shapes or len(shapes["indices"]) != 1 or len(set(shapes.values())) != 1:
        raise InputError(
            f"{what} has arrays of shapes {shapes}. Allowed: one-dimensional arrays of one length, "
            "among them 'indices'."
        )
