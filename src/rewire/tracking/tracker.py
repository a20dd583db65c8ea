"""What a stage may tell about its run, and the tracker that listens to nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np


CARD = "run.json"  # written into the folder of every run, for the dashboard


class Tracker(Protocol):
    """A run in progress. Numbers may be NaN or infinite; values may be 0-d tensors or arrays."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        """One point of every curve in `metrics`.

        Curves called "train/..." are drawn over `step`; others with a common prefix over
        "<prefix>/epoch" or "epoch" if their first row holds it, else over `step`. Steps may repeat.
        """

    def summary(self, metrics: Mapping[str, Any]) -> None:
        """Final values of the run; nested mappings are flattened with "/"."""

    def image(self, name: str, image: str | Path | np.ndarray, *, step: int | None = None) -> None:
        """A picture: an image file, or an RGB array uint8 (H, W, 3)."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table; cells of a column may have different types."""

    def artifact(
        self,
        name: str,
        *,
        type: str,
        files: Sequence[Path],
        metadata: Mapping[str, Any],
        inputs: Sequence[str] = (),
    ) -> None:
        """Files that this run made, and their lineage.

        The files are recorded by path and hash and not copied: an offline run that is pushed
        later needs them unchanged.

        Args:
            name: name of the artifact; its alias is "latest".
            type: for example "model" or "result".
            files: existing files; their base names differ.
            metadata: plain values, stored with the artifact.
            inputs: names of artifacts that this run consumed, recorded under "inputs" in the
                metadata and, where a server exists, as used artifacts.
        """

    def url_or_folder(self) -> str:
        """Where to look at the run: its address online, its folder offline, "" without a run."""


class NullTracker:
    """The tracker of tracking=off."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None: ...

    def summary(self, metrics: Mapping[str, Any]) -> None: ...

    def image(
        self, name: str, image: str | Path | np.ndarray, *, step: int | None = None
    ) -> None: ...

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None: ...

    def artifact(
        self,
        name: str,
        *,
        type: str,
        files: Sequence[Path],
        metadata: Mapping[str, Any],
        inputs: Sequence[str] = (),
    ) -> None: ...

    def url_or_folder(self) -> str:
        return ""


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: scalars out of arrays, texts for paths and non-finite numbers.

    Non-finite numbers get W&B's own spelling ("NaN", "Infinity", "-Infinity").
    """
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def flatten(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level, keys joined with "/"; empty mappings vanish."""
    flat: dict[str, Any] = {}
    for key, value in metrics.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}/") if isinstance(value, Mapping) else {name: value}
    return flat
