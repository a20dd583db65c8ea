"""The Lightning trainer of both documents: quiet, on one device, resumable."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rewire.files import writable_folder
from rewire.progress import watched
from rewire.training.checkpoint import AtomicCheckpoints
from rewire.training.lean import pl
from rewire.training.resume import resumable


def fit(
    module: pl.LightningModule,
    batches: Iterable[Any],
    *,
    held_out: Iterable[Any] | None = None,
    callbacks: Sequence[pl.Callback],
    device: torch.device,
    precision: str,
    checkpoints: Path,
    state_of: Mapping[str, Any],
    max_epochs: int = -1,
    max_steps: int = -1,
    every_epochs: int = 0,
    every_steps: int = 0,
) -> pl.Trainer:
    """Train `module` to the end, going on from the last checkpoint of this configuration.

    Args:
        module: what is trained, in place.
        batches: training batches; `held_out` those of the validation after every epoch.
        callbacks: in the order in which they are called; checkpoints are written after them.
        device, precision: where and how to compute.
        checkpoints: folder for the state to resume from.
        state_of: what the state must be of: configuration and code, as plain values.
        max_epochs, max_steps: the end; one of them is given.
        every_epochs, every_steps: between two states, 0 for none.
    """
    # Progress bar where somebody watches, lines where a log is written.
    bars = [pl.callbacks.TQDMProgressBar(refresh_rate=10)] if watched() else []
    everything = [*callbacks, *bars]
    resume, saves = None, bool(every_epochs or every_steps)
    if saves:
        folder = writable_folder(checkpoints)
        everything.append(
            pl.callbacks.ModelCheckpoint(
                folder,
                filename="last",
                every_n_epochs=every_epochs or None,
                every_n_train_steps=every_steps or None,
                save_on_train_epoch_end=bool(every_epochs),
                enable_version_counter=False,
            )
        )
        resume = resumable(checkpoints, state_of)
    quiet_lightning()
    trainer = pl.Trainer(
        accelerator=device.type if device.type == "cpu" else "gpu",
        devices=1,
        precision=precision,
        max_epochs=max_epochs,
        max_steps=max_steps,
        callbacks=everything,
        # A training is one process to Lightning wherever it runs. What Lightning would do by itself
        # in a Slurm job: refuse several tasks, requeue it, and load any `hpc_ckpt_*.ckpt` that lies
        # in its root folder, by default the working folder.
        plugins=[AtomicCheckpoints(), pl.plugins.environments.LightningEnvironment()],
        default_root_dir=checkpoints,
        logger=False,
        enable_checkpointing=saves,
        enable_progress_bar=bool(bars),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    try:
        trainer.fit(module, batches, held_out, ckpt_path=resume)
    except pl.utilities.exceptions.SIGTERMException:
        # Lightning would leave with 0, as if there were a result.
        raise SystemExit(128 + signal.SIGTERM) from None
    return trainer


def quiet_lightning() -> None:
    """Keep hints about loggers, loaders, devices and srun out of the terminal."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for module in ("pytorch_lightning", "lightning_fabric"):
        warnings.filterwarnings("ignore", module=module)
