"""Projected gradient descent in the L-infinity ball with restarts: the evaluation attack.

The evaluation attack (thesis, section 5) takes 50 steps of 2.5·epsilon/50 on the sign of the
cross-entropy gradient from each of 10 uniform random starts and counts the worst case per image.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.attacks.image_noise import image_noise
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
from rewire.options import Count, Epsilon, MachineCount, Null, Positive, Steps
from rewire.registry import ATTACKS

# The start of the first pass; those of the attack itself are numbered from 0.
FIRST_PASS_RESTART = -1


@ATTACKS.register("pgd")
@dataclass(frozen=True)
class PGD:
    """PGD with random restarts, worst case per image (thesis, section 5).

    An image leaves when any iterate fooled the model, and another takes its place in the batch; an
    image that survived a restart begins the next one. Images misclassified without an attack are
    not attacked.

    Args:
        epsilon: L-infinity radius in units of the [0, 1] pixel range, in (0, 1].
        steps: gradient steps per restart.
        restarts: number of uniform random starts.
        step_size: step per pixel; `None` means 2.5·epsilon/steps.
        batch_size: images per forward and backward pass; `None` means 256 on the CPU and 1024 on a
            GPU. It changes the speed, not the result.
        check_every: steps until the host asks which images were fooled; these keep the iterate that
            fooled first and leave then. `None` means every step on the CPU and every 5 on a GPU,
            which the question makes wait. It changes the speed, not the result.
        first_pass_steps: steps of one quick restart (step 2.5·epsilon over this number) before the
            others, for the images that it fools; `None` means no such pass. It can only lower the
            robust accuracy.
        seed: of the starts.

    """

    epsilon: Epsilon = 8 / 255
    steps: Steps = 50
    restarts: Count = 10
    step_size: Annotated[Positive | None, Null("2.5 epsilon / steps")] = None
    batch_size: MachineCount = None
    check_every: MachineCount = None
    first_pass_steps: Annotated[Count | None, Null("none")] = None
    seed: int = 0

    @property
    def step(self) -> float:
        """Length of one step: `step_size`, or 2.5·epsilon/steps."""
        return 2.5 * self.epsilon / self.steps if self.step_size is None else self.step_size

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
            model: float images (B, C, H, W) in [0, 1] → logits (B, classes).
            x: float32 (N, C, H, W) in [0, 1].
            y: int64 (N,).
            indices: int64 (N,), the position of each image in its split: with `seed` it fixes the
                image's starts, whatever else is attacked and in which order.
            progress: called with (images decided, images to decide).

        Raises:
            InputError: if the three tensors do not have the same length.
        """
        check_aligned(x, y, indices)
        full = self._for(x.device)
        assert full.batch_size is not None
        passes = [("pgd", full, 0)]
        if self.first_pass_steps is not None:
            quick = replace(full, steps=self.first_pass_steps, restarts=1, step_size=None)
            passes.insert(0, ("first-pass", quick, FIRST_PASS_RESTART))
        adversarial, numbers, steps_run = x.clone(), indices.tolist(), 0
        with full_float32(x.device), attack_mode(model):
            alive = is_correct(predict_logits(model, x, batch_size=full.batch_size), y).cpu()
            total = int(alive.sum())
            fooled_by = torch.where(alive, SURVIVED, CLEAN_WRONG).to(torch.int8)
            fooled_at = fooled_by.to(restart_type(self.restarts))
            for name, attack, first_restart in passes:
                # Survivors of a pass before the last one are not decided yet.
                report = progress if attack is full else None
                found, steps = attack._search(
                    model, x, y, numbers, alive, adversarial, first_restart, total, report
                )
                hit = found != SURVIVED
                fooled_by[hit], fooled_at[hit] = (
                    FOOLED_BY.index(name),
                    found[hit].to(fooled_at.dtype),
                )
                alive, steps_run = alive & ~hit, steps_run + steps
            return conclude(
                model,
                x,
                y,
                adversarial=adversarial,
                fooled_by=fooled_by,
                fooled_at=fooled_at,
                last=(FOOLED_BY.index("pgd"), self.restarts - 1),
                epsilon=self.epsilon,
                batch_size=full.batch_size,
                steps_run=steps_run,
            )

    def _for(self, device: torch.device) -> PGD:
        """This attack with the sizes that suit `device` where none are given."""
        on_cpu = device.type == "cpu"
        return replace(
            self,
            batch_size=self.batch_size or (256 if on_cpu else 1024),
            check_every=self.check_every or (1 if on_cpu else 5),
        )

    def _search(
        self, model, x, y, numbers, alive, adversarial, first_restart, total, progress
    ) -> tuple[Tensor, int]:
        """(restart that fooled or `SURVIVED` per image, on the CPU; image-steps).

        Attacks the images in `alive` and puts their last judged iterates into `adversarial`.
        """
        fooled_at = torch.full((len(x),), SURVIVED, dtype=restart_type(self.restarts))
        # Jobs (row, restart); a survivor queues up again for its next restart.
        waiting = deque((row, 0) for row in alive.nonzero().flatten().tolist())
        decided, steps_run = total - len(waiting), 0

        # The batch: what the host decides is kept on the CPU, the rest beside the model.
        size, every = self.batch_size, self.check_every
        assert size is not None
        assert every is not None
        row = restart = age = torch.empty(0, dtype=torch.int64)
        point, clean, label = x[:0], x[:0], y[:0]
        fooled = torch.empty(0, dtype=torch.bool, device=x.device)
        while waiting or len(row):
            free = size - len(row)
            jobs = [waiting.popleft() for _ in range(min(free, len(waiting)))]
            if jobs:
                new_row, new_restart = torch.tensor(jobs).unbind(1)
                row, restart = torch.cat([row, new_row]), torch.cat([restart, new_restart])
                age = torch.cat([age, torch.zeros_like(new_row)])
                here = new_row.to(x.device)
                keys = [(numbers[row], first_restart + restart) for row, restart in jobs]
                point = torch.cat([point, self._starts(x[here], keys)])
                clean, label = torch.cat([clean, x[here]]), torch.cat([label, y[here]])
                fooled = torch.cat([fooled, torch.zeros_like(here, dtype=torch.bool)])

            # A restart judges its start and one iterate per step; nobody goes beyond its last.
            ahead = min(every, self.steps + 1 - int(age.max()))
            for _ in range(ahead):
                judged = point
                point, fooled = self._step(model, judged, clean, label, fooled)
            age, steps_run = age + ahead, steps_run + ahead * len(row)

            hit = fooled.cpu()
            leave = hit | (age > self.steps)
            if not leave.any():
                continue
            adversarial[row[leave].to(x.device)] = judged[leave.to(x.device)]
            fooled_at[row[hit]] = restart[hit].to(fooled_at.dtype)
            again = leave & ~hit & (restart + 1 < self.restarts)
            waiting.extend(zip(row[again].tolist(), (restart[again] + 1).tolist(), strict=True))
            decided += int((leave & ~again).sum())
            if progress is not None:
                progress(decided, total)
            stay = (~leave).nonzero().flatten()
            row, restart, age = row[stay], restart[stay], age[stay]
            stay = stay.to(x.device)
            point, clean, label, fooled = point[stay], clean[stay], label[stay], fooled[stay]
        return fooled_at, steps_run

    def _step(self, model, x_adv, x, y, fooled) -> tuple[Tensor, Tensor]:
        """(next iterates, whether the model was fooled by now); an image once fooled stays put."""
        with torch.enable_grad():
            x_adv = x_adv.detach().requires_grad_()
            logits = model(x_adv)
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), x_adv)
        x_adv = x_adv.detach()
        fooled = fooled | ~is_correct(logits.detach(), y)
        ascended = linf_project(x_adv + self.step * gradient.sign(), x, self.epsilon)
        return torch.where(fooled.view(-1, *[1] * (x.ndim - 1)), x_adv, ascended), fooled

    def _starts(self, x: Tensor, keys: Sequence[tuple[int, int]]) -> Tensor:
        """Starts of the images `x`, one per key (index, restart)."""
        noise = image_noise(x.shape[1:], seed=self.seed, purpose="pgd start", keys=keys)
        return linf_project(x + self.epsilon * (noise * 2 - 1).to(x), x, self.epsilon)
