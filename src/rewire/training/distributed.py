"""One training in several processes of one machine, each with its share of every batch.

The first process is the one that was started; it alone writes and reports. The others, started
here, compute the same steps with other images. What makes the result that of one process, but for
the order of sums: gradients are averaged, BatchNorm normalises with the statistics of the whole
batch, and everything random is a function of seed and step, so that all processes re-wire alike.

θ is one parameter: its gradient is complete only when the backward pass ends, so it is averaged in
one piece there. Wrappers that send gradients in buckets during the backward pass gain nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rewire.data.batches import TrainBatches
from rewire.rng import derive_seed
from rewire.training.lean import pl


@dataclass(frozen=True)
class Group:
    """The processes of one training; the standard one is a process alone.

    Attributes:
        rank: place of this process, 0 for the one that writes.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """A seed for what must differ between processes: attack starts on other images."""
        return seed if self.leads else derive_seed(seed, "process", self.rank)

    def threads(self, count: int | None) -> int | None:
        """CPU threads of a process: `count`, or if that is None its part of all."""
        if count is not None or self.size == 1:
            return count
        return max(1, torch.get_num_threads() // self.size)

    def share(self, value: Any) -> Any:
        """The first process's `value`, in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def gather(self, x: Tensor) -> Tensor:
        """`x` of every process, (size, *x.shape); gradients go back to where values came from."""
        return _Gather.apply(x, self)

    def mean(self, x: Tensor) -> Tensor:
        """Mean of `x` over the processes, bitwise the same in all of them."""
        x = x.clone()
        dist.all_reduce(x)
        return x.div_(self.size)


ALONE = Group()


class BatchShare:
    """This process's images of every batch: each `size`-th, from `rank` on.

    Order and augmentation are those of the whole batch. Everything but the images is that of
    `batches`: length, epoch, state.
    """

    def __init__(self, batches: TrainBatches, group: Group) -> None:
        self.batches, self.group = batches, group
        self.sampler = batches
        self.state_dict, self.load_state_dict = batches.state_dict, batches.load_state_dict

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        mine = slice(self.group.rank, None, self.group.size)
        for x, y in self.batches:
            yield x[mine].clone(), y[mine]


class Averaging(pl.Callback):
    """Averages gradients and logged numbers over the processes; stands before other callbacks."""

    def __init__(self, group: Group) -> None:
        self.group = group

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for value in module.model.state_dict().values():
            dist.broadcast(value, 0)

    @torch.no_grad()
    def on_after_backward(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        flat = self.group.mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        means = flat.split([gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *args: Any) -> None:
        numbers = torch.stack([value.float() for value in module.latest.values()])
        module.latest = dict(zip(module.latest, self.group.mean(numbers).unbind(), strict=True))

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        check_alike(module.model.theta.detach(), self.group, step=trainer.global_step)


def check_alike(theta: Tensor, group: Group, *, step: int) -> None:
    """Raises `RuntimeError` if θ is not bitwise the same in all processes."""
    bits = theta.view(torch.int32).long()
    weighted = bits * torch.arange(1, len(bits) + 1, device=bits.device)
    sums = group.gather(weighted.sum()).tolist()
    if len(set(sums)) > 1:
        raise RuntimeError(f"the processes' weights differ after step {step}: {sums}")


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        parts = [torch.empty_like(x) for _ in range(group.size)]
        dist.all_gather(parts, x.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.group.rank], None
