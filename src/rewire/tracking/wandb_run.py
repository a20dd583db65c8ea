"""A tracker that writes to one W&B run."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wandb

from rewire.files import write_json
from rewire.tracking.tracker import CARD, flatten, plain

if TYPE_CHECKING:
    import numpy as np


def safe_name(text: str) -> str:
    """`text` with only the characters that W&B allows in ids and artifact names."""
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII)[:100]


class WandbTracker:
    """See `Tracker` for the methods.

    Args:
        run: the started run.
        card: what the dashboard shows of the run (name, group, job type).
    """

    def __init__(self, run: wandb.Run, *, card: Mapping[str, str]) -> None:
        self._run = run
        self._card = {**card, "state": "running", "curves": False}
        self._drawn: set[str] = set()
        self._folder = Path(run.settings.sync_dir)
        self._write_card()

    def log(self, metrics: Mapping[str, float], *, step: int) -> None:
        with self._forgiving():
            self._define_axes(metrics)
            row = {
                name: value.item() if hasattr(value, "item") else value
                for name, value in metrics.items()
            }
            # Not W&B's own step: that one must grow from call to call, or the row is dropped.
            self._run.log(row | {"step": step})
            if not self._card["curves"]:
                self._write_card(curves=True)

    def summary(self, metrics: Mapping[str, Any]) -> None:
        with self._forgiving():
            self._run.summary.update(plain(flatten(metrics)))

    def image(self, name: str, image: str | Path | np.ndarray, *, step: int | None = None) -> None:
        with self._forgiving():
            picture = wandb.Image(str(image) if isinstance(image, str | Path) else image)
            self._run.log({name: picture} | ({} if step is None else {"step": step}))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        with self._forgiving():
            table = wandb.Table(
                columns=list(columns), data=plain(list(rows)), allow_mixed_types=True
            )
            self._run.log({name: table})

    def artifact(
        self,
        name: str,
        *,
        type: str,
        files: Sequence[Path],
        metadata: Mapping[str, Any],
        inputs: Sequence[str] = (),
    ) -> None:
        with self._forgiving():
            artifact = wandb.Artifact(
                safe_name(name), type=type, metadata=plain(metadata) | {"inputs": list(inputs)}
            )
            for file in files:
                # Without these two, W&B keeps a second copy of all weights of all runs.
                artifact.add_file(str(file), policy="immutable", skip_cache=True)
            if not self._run.offline:
                self._use(inputs)
            self._run.log_artifact(artifact, aliases=["latest"])

    def url_or_folder(self) -> str:
        return self._run.url or str(self._folder)

    def finish(self, *, failed: bool) -> None:
        """End the run; waits for uploads online."""
        with self._forgiving(also_online=failed):
            self._run.finish(exit_code=int(failed))
            self._write_card(state="failed" if failed else "finished")

    def _define_axes(self, metrics: Mapping[str, float]) -> None:
        for name in metrics:
            prefix, slash, _ = name.rpartition("/")
            if not slash or prefix in self._drawn:
                continue
            self._drawn.add(prefix)
            axes = () if prefix == "train" else (f"{prefix}/epoch", "epoch")
            axis = next((axis for axis in axes if axis in metrics), "step")
            self._run.define_metric(axis, hidden=True)
            self._run.define_metric(f"{prefix}/*", step_metric=axis)

    def _use(self, inputs: Sequence[str]) -> None:
        for name in inputs:
            try:
                self._run.use_artifact(f"{safe_name(name)}:latest")
            except (wandb.Error, ValueError) as error:
                # An earlier stage may have been tracked offline, or is another project's.
                warnings.warn(f"no lineage to artifact '{name}': {error}", stacklevel=2)

    def _write_card(self, **changes: str | bool) -> None:
        self._card |= changes
        write_json(self._folder / CARD, self._card)

    @contextmanager
    def _forgiving(self, *, also_online: bool = False) -> Iterator[None]:
        """Offline a broken W&B service or a full disk costs the record, never the training."""
        try:
            yield
        except (OSError, wandb.Error) as error:
            if not (self._run.offline or also_online):
                raise
            warnings.warn(f"W&B lost part of this run's record: {error}", stacklevel=4)
