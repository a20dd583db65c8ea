"""AutoAttack "standard" in the L-infinity ball (Croce and Hein 2020), on survivors only.

Four attacks without parameters to tune, one after the other: APGD on the cross-entropy, APGD-T and
FAB-T against every other class, and the black-box Square attack. They come from pyautoattack; the
chain, the verdicts and the record of which attack fooled which image are ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rewire.attacks.adapters.pyautoattack_adapter import Component, autoattack_components
from rewire.attacks.judge import (
    CLEAN_WRONG,
    FOOLED_BY,
    SURVIVED,
    AttackResult,
    check_aligned,
    conclude,
    is_correct,
    linf_project,
    predict_logits,
    restart_type,
)
from rewire.attacks.mode import attack_mode, full_float32
from rewire.errors import InputError
from rewire.options import Count, Epsilon, MachineCount, Steps
from rewire.registry import ATTACKS

FEWEST_CLASSES = 4  # the targeted loss divides by a difference of the four largest logits


@ATTACKS.register("autoattack")
@dataclass(frozen=True)
class AutoAttack:
    """AutoAttack "standard", worst case per image.

    Images misclassified without an attack are not attacked, and each attack (each target class of
    it, each restart) works only on the images that survived so far.

    Args:
        epsilon: L-infinity radius in units of the [0, 1] pixel range, in (0, 1].
        steps: of the APGD and FAB attacks.
        queries: of the Square attack.
        restarts: runs of each attack with a start of its own; the published attack has 1.
        batch_size: images per forward and backward pass; `None` means 256 on the CPU and 1024 on a
            GPU. It changes the speed, not the result.
        seed: of everything drawn; an image's draws depend on it and on the image's index alone.

    """

    epsilon: Epsilon = 8 / 255
    steps: Steps = 100
    queries: Count = 5000
    restarts: Count = 1
    batch_size: MachineCount = None
    seed: int = 0

    def attack(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        indices: Tensor,
        progress: Callable[[int, int], None] | None = None,
    ) -> AttackResult:
        """Attack every image that the model classifies correctly.

        Args:
            model: float images (B, C, H, W) in [0, 1] → logits (B, classes); has parameters.
            x: float32 (N, C, H, W) in [0, 1].
            y: int64 (N,).
            indices: int64 (N,), the position of each image in its split.
            progress: called with (images decided, images to decide).

        Raises:
            InputError: for tensors of different lengths, fewer than four classes, or if
                pyautoattack is not installed.
        """
        check_aligned(x, y, indices)
        size = self.batch_size or (256 if x.device.type == "cpu" else 1024)
        passed = 0

        def count(_, inputs) -> None:
            nonlocal passed
            passed += len(inputs[0])

        with full_float32(x.device), attack_mode(model):
            logits = predict_logits(model, x, batch_size=size)
            components = self._components(model, logits.shape[1])
            adversarial, clean = x.clone(), is_correct(logits, y)
            fooled_by = torch.where(clean, SURVIVED, CLEAN_WRONG).to(torch.int8)
            fooled_at = fooled_by.to(restart_type(self.restarts))
            total = int(clean.sum())
            for component, restart in itertools.product(components, range(self.restarts)):
                alive = (fooled_by == SURVIVED).nonzero().flatten()
                for rows in alive.split(size) if len(alive) else ():
                    image, label, index = x[rows], y[rows], indices[rows.to(indices.device)]
                    with _watched(model, count):
                        found = component(
                            model, image, label, indices=index, seed=self.seed, restart=restart
                        )
                    adversarial[rows] = found = linf_project(found, image, self.epsilon)
                    right = is_correct(predict_logits(model, found, batch_size=size), label)
                    fooled_by[rows[~right]] = FOOLED_BY.index(component.name)
                    fooled_at[rows[~right]] = restart
                    if progress is not None:
                        progress(total - int((fooled_by == SURVIVED).sum()), total)
            if progress is not None:
                progress(total, total)
            return conclude(
                model,
                x,
                y,
                adversarial=adversarial,
                fooled_by=fooled_by,
                fooled_at=fooled_at,
                last=(FOOLED_BY.index("square"), self.restarts - 1),
                epsilon=self.epsilon,
                batch_size=size,
                steps_run=passed,
            )

    def _components(self, model: nn.Module, classes: int) -> list[Component]:
        if classes < FEWEST_CLASSES:
            raise InputError(
                f"the model has {classes} classes. Allowed for AutoAttack: at least "
                f"{FEWEST_CLASSES}."
            )
        return autoattack_components(
            model,
            epsilon=self.epsilon,
            steps=self.steps,
            queries=self.queries,
            classes=classes,
        )


@contextmanager
def _watched(model: nn.Module, hook: Callable[..., None]) -> Iterator[None]:
    """Calls `hook(model, inputs)` before every forward pass inside."""
    handle = model.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
