"""Does a robust accuracy deserve its name? The case to examine, and sweeps of the attack itself.

The list of checks follows what reviewers ask of robustness figures (Carlini et al. 2019). Other
attacks on the same case are in `audit_attacks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from rewire.attacks.judge import judge
from rewire.attacks.pgd import PGD
from rewire.data.images import ImageSet, as_float
from rewire.data.split import balanced_order
from rewire.errors import InputError
from rewire.evaluation.findings import EpsilonSweep, Finding, RestartSweep, StepSweep, finding
from rewire.evaluation.robust import evaluate

ALL_FALL = 64  # radius in 1/255 at which no classifier of natural images is right
BATCH = 256  # images per pass where the attack leaves it open


@dataclass(frozen=True, eq=False)
class Case:
    """A network, images, and what the reported attack left of them.

    Attributes:
        model: classifier, on the device of `data`.
        data: the images.
        clean: bool (N,) on the CPU, correct without an attack: from the ledger.
        robust: bool (N,) on the CPU, correct under the reported attack: from the ledger.
        attack: the reported attack.
        tolerance: points by which two attack runs may differ without a flag: attacks of different
            length or radius are different searches. Never less than one image.
    """

    model: nn.Module
    data: ImageSet
    clean: Tensor
    robust: Tensor
    attack: PGD
    tolerance: float = 1.0

    def __post_init__(self) -> None:
        if not len(self.data) == len(self.clean) == len(self.robust) > 0:
            raise InputError(
                f"{len(self.data)} images and ledgers of {len(self.clean)} and {len(self.robust)} "
                "were given to the audit. Allowed: the same number of each, at least one."
            )

    @property
    def x(self) -> Tensor:
        """The images, float32 (N, C, H, W) in [0, 1]."""
        return as_float(self.data.images)

    @property
    def device(self) -> torch.device:
        return self.data.images.device

    @property
    def batch_size(self) -> int:
        return self.attack.batch_size or BATCH

    @property
    def slack(self) -> int:
        """The tolerance in images."""
        return max(1, int(self.tolerance * len(self.data) / 100))

    def take(self, rows: Tensor) -> Case:
        """The same case with the images of these rows only: int64 (n,) on the CPU."""
        return replace(
            self, data=self.data.take(rows), clean=self.clean[rows], robust=self.robust[rows]
        )

    def first(self, images: int) -> Case:
        """The case with its first `images` images, class-balanced."""
        return self.take(balanced_order(self.data.labels.cpu())[:images].sort().values)

    def left_by(self, attack: PGD) -> int:
        """How many images stay correct under another white-box attack."""
        found = evaluate(self.model, self.data, attack=attack, device=self.device)
        return found.robust.correct

    def judged(self, x_adv: Tensor) -> Tensor:
        """bool (N,) on the CPU: correct on these images, in the ball of the reported attack."""
        return judge(
            self.model,
            x_adv,
            self.x,
            self.data.labels,
            epsilon=self.attack.epsilon,
            batch_size=self.batch_size,
        ).cpu()

    def share(self, images: int) -> str:
        """A number of images in words."""
        return f"{100 * images / len(self.data):.1f} % of {len(self.data):,} images"


def epsilon_sweep(case: Case, *, epsilons: Sequence[float], steps: int) -> Finding[EpsilonSweep]:
    """A larger ball never leaves more images correct; 0 is the clean accuracy; 64/255 leaves none.

    A ball of radius 0 holds the image alone, so there is nothing to search: the image itself goes
    through the same re-clipping and final pass that judge every attack, and the verdicts must be
    those on clean images in the ledger, image by image.

    Args:
        epsilons: radii in 1/255, rising; may begin with 0.
        steps: of PGD with one start and a step of 2.5·epsilon/steps.
    """
    _check_rising("epsilons", epsilons)
    attack = replace(case.attack, steps=steps, step_size=None, restarts=1)
    counts, zero = [], None
    for epsilon in epsilons:
        if epsilon:
            counts.append(case.left_by(replace(attack, epsilon=epsilon / 255)))
            continue
        x = case.x
        unmoved = judge(
            case.model, x, x, case.data.labels, epsilon=0.0, batch_size=case.batch_size
        ).cpu()
        counts.append(int(unmoved.sum()))
        if different := int((unmoved != case.clean).sum()):
            zero = (
                f"with a radius of 0, {different} of {len(unmoved):,} images are judged "
                "differently from the clean ones"
            )
    standing = next(
        ((e, c) for e, c in zip(epsilons, counts, strict=True) if e >= ALL_FALL and c), None
    )
    return finding(
        EpsilonSweep(epsilons=epsilons, steps=steps, correct=counts, images=len(case.data)),
        zero_radius=zero,
        epsilon_sweep=_rise(case, epsilons, counts, "a radius of {:g}/255"),
        large_radius=standing
        and f"PGD with a radius of {standing[0]:g}/255 leaves {case.share(standing[1])} correct, "
        "which should be none",
    )


def step_sweep(case: Case, *, steps: Sequence[int]) -> Finding[StepSweep]:
    """More steps never leave more images correct, and the longest run finds no more than reported.

    Args:
        steps: rising; each is run from the same single start, with a step of 2.5·epsilon/steps.
    """
    _check_rising("steps", steps)
    attack = replace(case.attack, step_size=None, restarts=1)
    counts = [case.left_by(replace(attack, steps=number)) for number in steps]
    reported = int(case.robust.sum())
    ahead = reported - counts[-1]
    return finding(
        StepSweep(steps=steps, correct=counts, images=len(case.data), reported=reported),
        step_sweep=_rise(case, steps, counts, "PGD of {:g} steps"),
        not_converged=ahead > case.slack
        and f"PGD of {steps[-1]} steps from one start leaves {case.share(counts[-1])} correct, "
        f"the reported attack {case.share(reported)}",
    )


def restart_sweep(case: Case, fooled_at_restart: np.ndarray) -> Finding[RestartSweep]:
    """The robust accuracy after 1, 2, … restarts of the reported attack, from its ledger.

    It falls by construction; it must have come to rest, that is, the last restart must not have
    found more than the tolerance.

    Args:
        fooled_at_restart: (N,) as in the ledger.
    """
    found = np.asarray(fooled_at_restart)
    clean = int(case.clean.sum())
    counts = [
        clean - int(((found >= 0) & (found < n + 1)).sum()) for n in range(case.attack.restarts)
    ]
    last = counts[-2] - counts[-1] if len(counts) > 1 else 0
    return finding(
        RestartSweep(restarts=range(1, len(counts) + 1), correct=counts, images=len(case.data)),
        restarts=last > case.slack
        and f"the last of {len(counts)} restarts still fools {case.share(last)}",
    )


def _rise(case: Case, values: Sequence[float], counts: Sequence[int], words: str) -> str | None:
    """A sentence about the largest rise beyond the tolerance; values rise, counts must fall."""
    steps = list(zip(pairwise(values), pairwise(counts), strict=True))
    (below, above), (before, after) = max(
        steps, key=lambda step: step[1][1] - step[1][0], default=((0, 0), (0, 0))
    )
    if after - before <= case.slack:
        return None
    return (
        f"{words.format(above)} leaves {case.share(after)} correct, "
        f"{words.format(below)} {case.share(before)}"
    )


def _check_rising(name: str, values: Sequence[float]) -> None:
    """Raises `InputError` unless there are values and they rise from 0 or more."""
    if not values or values[0] < 0 or any(b <= a for a, b in pairwise(values)):
        raise InputError(f"{name} are {list(values)}. Allowed: rising numbers, at least one.")
