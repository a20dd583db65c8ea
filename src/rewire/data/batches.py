"""Batches from images in memory: stateless randomness and exact mid-epoch resume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rewire.data.augment import AUGMENTATIONS
from rewire.data.checks import check_count
from rewire.data.images import ImageSet, as_float
from rewire.errors import InputError
from rewire.rng import generator


class TrainBatches:
    """Shuffled, augmented training batches (x, y), for Lightning or a plain loop.

    x is float32 (batch_size, C, H, W) in [0, 1], y int64 (batch_size,); the incomplete last batch
    is dropped. The order is a function of (seed, epoch), the augmentation of (seed, epoch, batch):
    neither depends on what was drawn before, nor on the device.

    Each `for` loop gives one epoch, then the next. A loop that was left, or a state that was
    loaded, in the middle of an epoch is continued by the next loop.

    Attributes:
        epoch: the current epoch, from 0.
        position: number of batches of this epoch that were handed out.
    """

    def __init__(
        self,
        data: ImageSet,
        *,
        batch_size: int,
        seed: int,
        augmentation: str,
        device: torch.device | str = "cpu",
        channels_last: bool = False,
    ) -> None:
        """Put `data` on `device` and start before epoch 0.

        Args:
            data: the training images.
            batch_size: images per batch, 1..len(data).
            seed: of order and augmentation.
            augmentation: a name in `AUGMENTATIONS`.
            device: where data and batches live.
            channels_last: whether x is in torch.channels_last memory format.

        Raises:
            InputError: for a batch size out of range or an unknown augmentation.
        """
        check_count("batch_size", batch_size, low=1, high=len(data))
        self.data = data.to(device)
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = augmentation
        self.epoch = 0
        self.position = 0
        self._augment = AUGMENTATIONS[augmentation]
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def __len__(self) -> int:
        return len(self.data) // self.batch_size

    @property
    def sampler(self) -> TrainBatches:
        """This object: Lightning announces every epoch by `sampler.set_epoch(epoch)`.

        It does not load the state that a checkpoint at the end of an epoch holds, so without this
        a run resumed from there would see epoch 0 again.
        """
        return self

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the current one; the place inside it is kept if it is already running."""
        if epoch != self.epoch or self.position >= len(self):
            self.epoch, self.position = epoch, 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # Lightning takes len() batches and never exhausts an iterator, so an epoch that is over is
        # noticed here; it also makes iterators before it loads a state, hence nothing happens
        # before the first batch is asked for.
        if self.position >= len(self):
            self.set_epoch(self.epoch + 1)
        random = generator(self.seed, "training order", self.epoch)
        order = torch.randperm(len(self.data), generator=random).to(self.data.images.device)
        while self.position < len(self):
            self.position += 1
            start = (self.position - 1) * self.batch_size
            yield self._batch(order[start : start + self.batch_size])

    def _batch(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        random = generator(self.seed, "augmentation", self.epoch, self.position - 1)
        x = self._augment(as_float(self.data.images[chosen]), generator=random)
        return x.contiguous(memory_format=self._format), self.data.labels[chosen]

    def _settings(self) -> dict[str, Any]:
        return {
            "images": len(self.data),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "augmentation": self.augmentation,
        }

    def state_dict(self) -> dict[str, Any]:
        """The place in the data and the settings it belongs to; plain numbers and strings."""
        return {"epoch": self.epoch, "position": self.position, **self._settings()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved place.

        Raises:
            InputError: if the state was saved with other settings: the batches that follow would
                not be those of the run that saved it.
        """
        for name, value in self._settings().items():
            if state[name] != value:
                raise InputError(
                    f"this checkpoint was trained with {name} = {state[name]!r}, "
                    f"not {value!r}. Allowed to resume: the same {name}."
                )
        self.epoch, self.position = state["epoch"], state["position"]


class EvalBatches:
    """Batches (x, y, index) in the order of the data, the last one possibly smaller.

    x is float32 (b, C, H, W) in [0, 1], y int64 (b,), index int64 (b,) the place of each image in
    `data`. Every loop starts at the first image.
    """

    def __init__(
        self, data: ImageSet, *, batch_size: int, device: torch.device | str = "cpu"
    ) -> None:
        """Put `data` on `device`.

        Args:
            data: the images, possibly none.
            batch_size: images per batch, at least 1; more than len(data) gives one batch.
            device: where data and batches live.

        Raises:
            InputError: for a batch size below 1.
        """
        check_count("batch_size", batch_size, low=1)
        self.data = data.to(device)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        places = torch.arange(len(self.data), device=self.data.images.device)
        for index in places.split(self.batch_size) if len(places) else ():
            yield as_float(self.data.images[index]), self.data.labels[index], index
