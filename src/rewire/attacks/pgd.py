"""Projected gradient descent in the L-infinity ball with restarts: the evaluation attack.

The evaluation attack (thesis, section 5) takes 50 steps of 2.5·epsilon/50 on the sign of the
cross-entropy gradient from each of 10 uniform random starts and counts the worst case per image.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.attacks.checks import check_count, check_real
from rewire.attacks.judge import is_correct, linf_project, predict_logits
from rewire.attacks.mode import attack_mode, full_float32
from rewire.errors import InputError
from rewire.rng import generator as derived_generator

SURVIVED = -1
CLEAN_WRONG = -2


def uniform_start(shape: torch.Size, *, seed: int, index: int, restart: int) -> Tensor:
    """The start of one image, uniform in [-1, 1): a function of (seed, image index, restart) alone.

    Drawn on the CPU, so that it is the same for every device, batch size and subset.
    """
    source = derived_generator(seed, "pgd start", index, restart)
    return torch.rand(shape, generator=source) * 2 - 1


@dataclass(frozen=True)
class AttackResult:
    """What an evaluation attack found; all tensors have N entries and lie where the images lay.

    Attributes:
        adversarial: float32 (N, C, H, W): the first iterate that fooled the model, the last
            iterate for a survivor, the clean image where that is misclassified already.
        clean_correct: bool, on the clean images.
        correct: bool, the verdict of a separate forward pass over `adversarial`.
        fooled_at_restart: int16, the first restart (from 0) that fooled the model, `SURVIVED` (-1)
            or `CLEAN_WRONG` (-2). `correct` holds exactly where it is -1.
        steps_run: image-steps of the attack: images forward and backward, summed over iterates.
        fragile: number of images on which the attack and the final pass differed by rounding.
    """

    adversarial: Tensor
    clean_correct: Tensor
    correct: Tensor
    fooled_at_restart: Tensor
    steps_run: int
    fragile: int


@dataclass(frozen=True)
class PGD:
    """PGD with random restarts, worst case per image (thesis, section 5).

    An image leaves as soon as any iterate fools the model, and another takes its place in the
    batch; an image that survived a restart begins the next one. Images misclassified without an
    attack are not attacked.

    Args:
        epsilon: L-infinity radius in units of the [0, 1] pixel range, in (0, 1].
        steps: gradient steps per restart.
        restarts: number of uniform random starts.
        step_size: step per pixel; `None` means 2.5·epsilon/steps.
        batch_size: images per forward and backward pass.
        seed: of the starts.

    Raises:
        InputError: for a value outside these ranges.
    """

    epsilon: float = 8 / 255
    steps: int = 50
    restarts: int = 10
    step_size: float | None = None
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_real("epsilon", self.epsilon, above=0, at_most=1)
        check_count("steps", self.steps)
        check_count("restarts", self.restarts)
        if self.step_size is not None:
            check_real("step_size", self.step_size, above=0)
        check_count("batch_size", self.batch_size)
        check_count("seed", self.seed, at_least=0)

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
        if not len(x) == len(y) == len(indices):
            raise InputError(
                f"{len(x)} images, {len(y)} labels and {len(indices)} indices were given to the "
                "attack. Allowed: the same number of each."
            )
        with full_float32(x.device), attack_mode(model):
            clean = is_correct(predict_logits(model, x, batch_size=self.batch_size), y)
            adversarial, fooled_at, steps_run = self._search(model, x, y, indices, clean, progress)
            adversarial = linf_project(adversarial, x, self.epsilon)
            logits = predict_logits(model, adversarial, batch_size=self.batch_size)
        correct = is_correct(logits, y) & clean
        unclear = correct != (fooled_at == SURVIVED)
        _assert_fragile(logits[unclear], y[unclear])
        # The final pass has the last word; a survivor that it calls fooled ran all restarts.
        last = torch.full_like(fooled_at, self.restarts - 1)
        fooled_at = torch.where(unclear, torch.where(correct, SURVIVED, last), fooled_at)
        return AttackResult(adversarial, clean, correct, fooled_at, steps_run, int(unclear.sum()))

    def _search(self, model, x, y, indices, clean, progress) -> tuple[Tensor, Tensor, int]:
        """(last iterates, restart that fooled or a negative code, image-steps)."""
        adversarial = x.clone()
        fooled_at = torch.full((len(x),), CLEAN_WRONG, dtype=torch.int16)
        fooled_at[clean.cpu()] = SURVIVED
        # Jobs (row, restart); a survivor queues up again for its next restart.
        waiting = deque((row, 0) for row in clean.nonzero().flatten().tolist())
        numbers = indices.tolist()
        total, decided, steps_run = len(waiting), 0, 0

        # The batch: one job and one iterate per place; its bookkeeping is on the CPU.
        row = restart = step = torch.empty(0, dtype=torch.int64)
        x_adv = x[:0]
        while waiting or len(row):
            free = self.batch_size - len(row)
            jobs = [waiting.popleft() for _ in range(min(free, len(waiting)))]
            if jobs:
                new_row, new_restart = torch.tensor(jobs).unbind(1)
                row, restart = torch.cat([row, new_row]), torch.cat([restart, new_restart])
                step = torch.cat([step, torch.zeros_like(new_row)])
                x_adv = torch.cat([x_adv, self._starts(x, numbers, jobs)])

            here = row.to(x.device)
            ascended, unfooled = self._step(model, x_adv, x[here], y[here])
            steps_run += len(row)
            fooled = ~unfooled.cpu()
            spent = ~fooled & (step == self.steps)
            leave = fooled | spent
            if leave.any():
                adversarial[row[leave].to(x.device)] = x_adv[leave.to(x.device)]
                fooled_at[row[fooled]] = restart[fooled].to(torch.int16)
                again = spent & (restart + 1 < self.restarts)
                waiting.extend(zip(row[again].tolist(), (restart[again] + 1).tolist(), strict=True))
                decided += int((leave & ~again).sum())
                if progress is not None:
                    progress(decided, total)
            row, restart, step = row[~leave], restart[~leave], step[~leave] + 1
            x_adv = ascended[~leave.to(x.device)]
        return adversarial, fooled_at.to(x.device), steps_run

    def _step(self, model, x_adv, x, y) -> tuple[Tensor, Tensor]:
        """(next iterates, whether the present ones are still classified correctly)."""
        with torch.enable_grad():
            x_adv = x_adv.detach().requires_grad_()
            logits = model(x_adv)
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), x_adv)
        ascended = linf_project(x_adv.detach() + self.step * gradient.sign(), x, self.epsilon)
        return ascended, is_correct(logits.detach(), y)

    def _starts(self, x, numbers: list[int], jobs: list[tuple[int, int]]) -> Tensor:
        noise = torch.stack(
            [
                uniform_start(x.shape[1:], seed=self.seed, index=numbers[row], restart=restart)
                for row, restart in jobs
            ]
        )
        clean = x[torch.tensor([row for row, _ in jobs], device=x.device)]
        return linf_project(clean + self.epsilon * noise.to(x), clean, self.epsilon)


def _assert_fragile(logits: Tensor, y: Tensor) -> None:
    """Verdicts may differ between two passes only where the two best logits are a rounding apart.

    A larger gap means that the model is not a function of its input, so no verdict can be trusted.
    """
    if not len(y):
        return
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], float("-inf")).amax(dim=1, keepdim=True)
    gap = ((own - others).abs() / (1 + logits.abs().amax(dim=1, keepdim=True))).amax()
    assert gap < 1e-3, f"the model contradicts itself on one input: relative logit gap {gap:.2g}"
