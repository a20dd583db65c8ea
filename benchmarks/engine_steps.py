"""The whole training step on the sparse engine and dense, and what the engine's step is made of."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from benchmarks.engine_forms import (
    CPU,
    DTYPES,
    IMAGE,
    STORAGES,
    dense_forms,
    dense_loop,
    fast_storage,
    on_engine,
    on_threads,
    trained_like,
)
from benchmarks.harness import Row, Stopwatch, Task, Timing, judged, measure
from benchmarks.training import LIGHTNING, Turns, train_in_lightning
from benchmarks.workload import BareLoop, endless, training_batches
from rewire.engine.index import Index
from rewire.engine.plan import Plan

# One comparison; SETTINGS lists what differs from this. `lightning`: storages in which Lightning
# trains, each in a run of its own with all other forms; `faster` is the one whose bare loop is
# faster, and without any there are bare loops alone. Dense forms have a turn every `dense_every`
# rounds; `cold`: they are not warmed up. `today`: with this training as it is without the engine.
# `slow`: with one step of `dense bf16` also where it is absurdly slow.
CASE: dict[str, Any] = {
    "objective": "natural",
    "sparsity": 0.99,
    "width": 1.0,
    "threads": 2,
    "lightning": ["float32", "bf16"],
    "rounds": 12,
    "dense_every": 3,
    "cold": False,
    "today": False,
    "slow": False,
}
ONCE = 0
TODAY = "this training, dense engine"
SHARE = 20  # target: connectivity and update take at most this many % of the engine's step


class Shifts:
    """Tasks in turns, of which some sit out rounds.

    Args:
        tasks: by name.
        every: rounds from one turn of a task to its next, 1 if it is not named; `ONCE` is a single
            turn in the first round.
        rounds: how many.
        warm_up: rounds before the first one, of which no reading is kept; rare tasks have a turn in
            the last of them.
        cold: tasks that are not warmed up; those of a single turn never are.
        pause: seconds before every turn, for threads that wait by spinning to come to rest.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        *,
        every: Mapping[str, int],
        rounds: int,
        warm_up: int,
        cold: Collection[str] = (),
        pause: float = 0,
    ) -> None:
        self.tasks, self.every, self.watch = tasks, every, Stopwatch(CPU)
        self.rounds, self.cold, self.pause = range(-warm_up, rounds), cold, pause

    def round(self, number: int) -> None:
        for name, task in self.tasks.items():
            every = self.every.get(name, 1)
            if number < 0:
                if every != ONCE and name not in self.cold and (every == 1 or number == -1):
                    task()
            elif number == 0 or (every != ONCE and number % every == 0):
                time.sleep(self.pause)
                with self.watch.time(name):
                    task()

    def run(self, *, per: int = 1) -> dict[str, Timing]:
        """All rounds; the timings of tasks that do their work `per` times."""
        for number in self.rounds:
            self.round(number)
        return self.watch.timings(warm_up=0, per=per)


class LightningTurns(Turns):
    """Batches for Lightning; between its steps the others have their turns."""

    def __init__(self, shifts: Shifts, *, batch_size: int, length: int) -> None:
        self.shifts, self.length = shifts, length
        self.batches = training_batches(batch_size, CPU)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = endless(self.batches)
        for number in self.shifts.rounds:
            if number < 0:
                yield next(batches)
            else:
                with self.shifts.watch.time(LIGHTNING):
                    yield next(batches)
            self.shifts.round(number)


def case_rows(changes: Mapping[str, Any], *, batch_size: int, strategy: str) -> list[Row]:
    """One row per form of the step, for every storage that Lightning trains in."""
    case = CASE | changes
    with on_threads(case["threads"]):
        rows: list[Row] = []
        for number, storage in enumerate(case["lightning"] or [None]):
            if number:
                case["slow"] = False  # once is enough
            timings = in_turns(case, storage, batch_size=batch_size, strategy=strategy)
            rows += [row | {"run": number} for row in as_rows(case, timings)]
        return rows


def in_turns(
    case: Mapping[str, Any], lightning: str | None, *, batch_size: int, strategy: str
) -> dict[str, Timing]:
    """Seconds of a step by form, within one run of Lightning if it trains in a storage at all."""
    objective, width, sparsity = case["objective"], case["width"], case["sparsity"]
    rounds, warm_up = case["rounds"], 2
    length = 10 * (rounds + warm_up)
    form = {"width": width, "sparsity": sparsity, "objective": objective}
    common = {
        "objective": objective,
        "device": CPU,
        "batch_size": batch_size,
        "total_steps": length,
        "strategy": strategy,
        "sparsity": sparsity,
    }
    bare = {
        storage: BareLoop(on_engine(**form), precision=precision, **common).step
        for storage, precision in STORAGES.items()
    }
    if lightning == "faster":
        trial = measure(bare, rounds=2, warm_up=1)
        lightning = min(trial, key=lambda storage: trial[storage].median)
    tasks = {f"sparse {storage}, bare loop": step for storage, step in bare.items()}
    names, every = dense_forms(), {}
    if fast_storage() != "bf16":
        every["dense bf16"] = ONCE
        if not case["slow"]:
            names.remove("dense bf16")
    for name in names:
        size = {"width": width, "batch_size": batch_size}
        tasks[name] = dense_loop(name, objective=objective, steps=length, **size).step
    if case["today"]:
        precision = STORAGES[fast_storage()]
        tasks[TODAY] = BareLoop(trained_like(**form), precision=precision, **common).step
        names.append(TODAY)
    shifts = Shifts(
        tasks,
        every=dict.fromkeys(names, case["dense_every"]) | every,
        rounds=rounds,
        warm_up=warm_up,
        cold=names if case["cold"] else (),
    )
    if lightning is None:
        return shifts.run()
    train_in_lightning(
        on_engine(**form),
        LightningTurns(shifts, batch_size=batch_size, length=length),
        objective=objective,
        strategy=strategy,
        sparsity=sparsity,
        device=CPU,
        precision=STORAGES[lightning],
    )
    found = shifts.watch.timings(warm_up=0)
    return {f"sparse {lightning}, Lightning": found.pop(LIGHTNING)} | found


def as_rows(case: Mapping[str, Any], timings: Mapping[str, Timing]) -> list[Row]:
    """The timings, those of the engine beside the fastest dense form of the same run."""
    label = {"part": "step"} | {
        key: case[key] for key in ("objective", "sparsity", "width", "threads")
    }
    dense = [name for name in timings if not name.startswith("sparse")]
    best = min(dense, key=lambda name: timings[name].median)
    rows = []
    for name, timing in timings.items():
        row: Row = label | {"by": name, **timing.columns()}
        if name not in dense:
            row |= {"against": best, "times faster": timings[best].median / timing.median}
        rows.append(row)
    return rows


def parts_rows(
    *, sparsity: float, strategy: str, width: float, batch_size: int, rounds: int
) -> list[Row]:
    """What a natural step of the engine spends on connectivity and update, for every storage.

    The index of the connections is built anew inside the forward pass; what that takes is measured
    once more behind the step, and counted with the connectivity.
    """
    return [
        _parts(
            storage,
            sparsity=sparsity,
            strategy=strategy,
            width=width,
            batch_size=batch_size,
            rounds=rounds,
        )
        for storage in STORAGES
    ]


def _parts(
    storage: str,
    *,
    sparsity: float,
    strategy: str,
    width: float,
    batch_size: int,
    rounds: int,
) -> Row:
    model = on_engine(width=width, sparsity=sparsity)
    loop = BareLoop(
        model,
        objective="natural",
        precision=STORAGES[storage],
        device=CPU,
        batch_size=batch_size,
        total_steps=10 * rounds,
        strategy=strategy,
        sparsity=sparsity,
    )
    watch = Stopwatch(CPU)
    loop.optimiser.step = timed(watch, "update", loop.optimiser.step)
    loop.connectivity_step = timed(watch, "connectivity", loop.connectivity_step)
    step = timed(watch, "step", loop.step)
    geometry = Plan(model.body).geometry(IMAGE, DTYPES[storage])
    values = model.theta.detach()

    def index() -> None:
        connected = model.connected()
        Index(connected, model.layers, geometry).set_weights(values[connected])

    index = timed(watch, "index", index)
    for _ in range(rounds + 2):
        step()
        index()
    ms = {name: 1e3 * timing.median for name, timing in watch.timings(warm_up=2).items()}
    share = 100 * (ms["update"] + ms["connectivity"] + ms["index"]) / ms["step"]
    return {
        "part": "share",
        "objective": "natural",
        "sparsity": sparsity,
        "strategy": strategy,
        "storage": storage,
        "step ms": ms["step"],
        "update ms": ms["update"],
        "connectivity ms": ms["connectivity"],
        "index ms": ms["index"],
        **judged("share %", share, at_most=SHARE),
    }


def timed(watch: Stopwatch, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, its seconds noted under `name`."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with watch.time(name):
            return function(*args, **kwargs)

    return run
