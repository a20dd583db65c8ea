"""Training states on disk that are whole or not there, whatever ends the process."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from rewire.errors import InputError
from rewire.files import atomic_path
from rewire.training.lean import pl


class AtomicCheckpoints(pl.plugins.TorchCheckpointIO):
    """Lightning's way to files: a new state replaces the old one only once it is on the disk.

    Read with `weights_only`: a state can hold tensors and plain values, but never code.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write `checkpoint`; raises `InputError` if there is no room, leaving the old state."""
        # torch itself does not say why it could not write.
        state = io.BytesIO()
        torch.save(checkpoint, state)
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(state.getbuffer())
        except OSError as error:
            raise InputError(
                f"cannot write the training state '{path}': {error.strerror}. The last whole state "
                "is kept; the same command goes on from there."
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """What `save_checkpoint` wrote, on the CPU unless `map_location` says otherwise."""
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)


def is_whole(path: Path) -> bool:
    """Whether the file is a saved state of which every record has its checksum, and can be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            # torch packs nothing: a record that unpacks to more than the file holds is not its own.
            if any(entry.file_size != entry.compress_size for entry in archive.infolist()):
                return False
            if archive.testzip() is not None:
                return False
        torch.load(path, map_location="meta", weights_only=True)
    except Exception:  # on damaged bytes zipfile and torch raise all kinds
        return False
    return True
