"""Timings of several things in turns (A B C, A B C, ...), so that ratios are of one run.

Whatever else the machine does hits all of them; each number is a median, with its quartiles.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

Task = Callable[[], Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated runs: median, first and third quartile, and how many runs."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, seconds: list[float], *, per: int = 1) -> Timing:
        """Summary of the seconds of blocks of `per` equal runs."""
        each = sorted(second / per for second in seconds)
        low, median, high = statistics.quantiles(each, method="inclusive") if each[1:] else each * 3
        return cls(median, low, high, len(each) * per)

    def columns(self) -> Row:
        """Milliseconds and their interquartile range, as columns of a row."""
        return {"ms": 1e3 * self.median, "iqr ms": 1e3 * (self.high - self.low), "runs": self.runs}


class Stopwatch:
    """Wall-clock seconds by name; a reading ends when everything on the device has ended."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        start = self._now()
        yield
        self.seconds[name].append(self._now() - start)

    def timings(self, *, warm_up: int, per: int = 1) -> dict[str, Timing]:
        """By name, without the first `warm_up` readings; a reading is of `per` equal runs."""
        return {
            name: Timing.of(seconds[warm_up:], per=per) for name, seconds in self.seconds.items()
        }

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def measure(
    tasks: Mapping[str, Task],
    *,
    rounds: int,
    warm_up: int = 0,
    device: torch.device | None = None,
) -> dict[str, Timing]:
    """Run all tasks one after the other, `warm_up + rounds` times; the last `rounds` count.

    A task may prepare what the next one is measured on: the order is that of the mapping.

    Args:
        tasks: by name; what they return is dropped.
        device: where they compute; a CUDA device is waited for before and after every task.
    """
    watch = Stopwatch(device or torch.device("cpu"))
    for _ in range(warm_up + rounds):
        for name, task in tasks.items():
            with watch.time(name):
                task()
    return watch.timings(warm_up=warm_up)


def judged(
    name: str, value: float, *, at_least: float | None = None, at_most: float | None = None
) -> Row:
    """A number with its target and whether it is met, as columns `name`, `target` and `met`."""
    if at_least is not None:
        return {name: value, "target": f">= {at_least:g}", "met": yes(value >= at_least)}
    if at_most is not None:
        return {name: value, "target": f"<= {at_most:g}", "met": yes(value <= at_most)}
    return {name: value}


def yes(value: bool) -> str:
    return "yes" if value else "no"
