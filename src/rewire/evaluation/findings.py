"""What the sanity checks of an attack found; read without importing torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from rewire.record import Record


class Flag(Record):
    """A reason for doubt: the name of what raised it, and a sentence."""

    name: str
    reason: str


class EpsilonSweep(Record):
    """Images that stay `correct` at every radius, in 1/255."""

    epsilons: list[int | float]
    steps: int
    correct: list[int]
    images: int


class StepSweep(Record):
    """Images that stay `correct` after every number of steps, and under the reported attack."""

    steps: list[int]
    correct: list[int]
    images: int
    reported: int


class RestartSweep(Record):
    """Images that stay `correct` after every number of restarts."""

    restarts: list[int]
    correct: list[int]
    images: int


class RandomNoise(Record):
    """Images that stay `correct` under all draws of noise, and under the reported attack."""

    draws: int
    correct: int
    reported: int
    images: int


class InputGradients(Record):
    """Of the correct images, those whose gradient is all zero, and the zeros in all gradients."""

    images: int
    all_zero: int
    all_zero_percent: float
    zero_pixels_percent: float


class StraightThrough(Record):
    """Images `beyond` the reported attack that gradients through dead units fool."""

    leaks: list[int | float]
    dormant: int | float
    steps: int
    fooled_by_leak: list[int]
    beyond: int
    images: int


class Transfer(Record):
    """Images that stay `correct` on another network's; those `beyond` survive the attack alone."""

    source: str
    steps: int
    correct: int
    reported: int
    beyond: int
    images: int


class AutoAttackGap(Record):
    """Images that stay `correct` under AutoAttack; the gap to the reported attack in points."""

    correct: int
    reported: int
    images: int
    gap: float
    expected: list[float]
    alarm: float


SWEEPS = {"epsilon_sweep": "epsilons", "step_sweep": "steps", "restart_sweep": "restarts"}
"""Name of a check → what it varies."""


class Checks(Record):
    """The numbers of every check that was run, in the order in which they are run."""

    epsilon_sweep: EpsilonSweep | None = None
    step_sweep: StepSweep | None = None
    restart_sweep: RestartSweep | None = None
    random_noise: RandomNoise | None = None
    input_gradients: InputGradients | None = None
    straight_through: StraightThrough | None = None
    transfer: Transfer | None = None
    autoattack: AutoAttackGap | None = None

    def sweeps(self) -> Iterator[tuple[str, list[float], list[float]]]:
        """(name, what is varied, accuracy in percent) of every sweep that was run."""
        for name, varied in SWEEPS.items():
            if found := getattr(self, name):
                accuracy = [100 * count / found.images for count in found.correct]
                yield name, getattr(found, varied), accuracy


N = TypeVar("N", bound=Record)


@dataclass(frozen=True)
class Finding(Generic[N]):
    """The result of a check: its numbers, and the reasons for doubt that it found."""

    numbers: N
    flags: tuple[Flag, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"numbers": self.numbers.as_json(), "flags": [f.as_json() for f in self.flags]}


def finding(numbers: N, **flags: str | Literal[False] | None) -> Finding[N]:
    """The result of a check; flags are name (underscores for spaces) = reason, or nothing."""
    raised = (Flag(name=n.replace("_", " "), reason=r) for n, r in flags.items() if r)
    return Finding(numbers, tuple(raised))
