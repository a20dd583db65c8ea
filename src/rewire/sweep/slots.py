"""How many jobs of a sweep run at a time, and which cores and which GPU each of them gets.

On a CPU one thread per job wastes least: threads of one training wait for each other many times a
step, jobs never do. So `auto` runs one job per core as long as there are jobs and memory, each on
cores of its own. On a GPU the jobs take turns (time slicing; they compute side by side if the user
has started NVIDIA's MPS daemon), which pays because one small network leaves most of it idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from rewire.errors import InputError

Jobs = int | Literal["auto"]

GIB = 2**30
CPU_JOB = 3 * GIB // 2  # main memory of a job; training the full VGG11 on a CPU peaks at 1.1 GiB
GPU_JOB = 6 * GIB  # GPU memory of a job, context included
MOST_PER_GPU = 9


@dataclass(frozen=True)
class Gpu:
    """A usable GPU.

    Attributes:
        name: as CUDA_VISIBLE_DEVICES takes it: an index or a UUID.
        free: bytes of free memory, None if unknown.
    """

    name: str
    free: int | None = None


@dataclass(frozen=True)
class Machine:
    """What a sweep may use.

    Attributes:
        cores: logical cores that this process may run on.
        quota: processor time that a control group allows, in cores; None without a limit.
        memory: free bytes, None if unknown.
        gpus: usable GPUs; none if the jobs are to run on the CPU.
    """

    cores: tuple[int, ...]
    quota: float | None = None
    memory: int | None = None
    gpus: tuple[Gpu, ...] = ()

    @property
    def usable(self) -> int:
        """Cores that can be kept busy at a time, at least 1."""
        quota = len(self.cores) if self.quota is None else int(self.quota)
        return max(1, min(len(self.cores), quota))


@dataclass(frozen=True)
class Slot:
    """A place for one job at a time; the standard one leaves everything to the job.

    Attributes:
        threads: CPU threads of the job, None for its own choice.
        cores: the only cores it may run on, none given: any.
        gpu: the only GPU it sees, None: all.
    """

    threads: int | None = None
    cores: tuple[int, ...] = ()
    gpu: str | None = None


def check_jobs(jobs: object) -> Jobs:
    """`jobs` if it is a whole number from 1 or `auto`; else raises `InputError`."""
    if jobs == "auto" or (isinstance(jobs, int) and not isinstance(jobs, bool) and jobs >= 1):
        return jobs
    raise InputError(f"hydra.launcher.jobs is {jobs}. Allowed: a whole number from 1, or auto.")


def pack(jobs: Jobs, *, count: int, machine: Machine, threads: int = 1) -> list[Slot]:
    """A slot for every job that runs at a time.

    All slots have the same number of threads, because it changes the last bits of a result: which
    of them a cell gets must not matter. A number of jobs at a time therefore splits the cores by
    that number, however few jobs there are. A single slot leaves the job as it would run alone.

    Args:
        jobs: at a time; `auto`: as many as cores, memory and GPUs allow.
        count: jobs of the sweep, at least 1.
        machine: what they share.
        threads: CPU threads that a job is known to start (`trainer.threads`); for `auto`.
    """
    places = gpu_places(machine.gpus)
    if jobs == "auto":
        limits = [count, machine.usable // threads]
        if machine.memory is not None:
            limits.append(machine.memory // CPU_JOB)
        if machine.gpus:
            limits.append(len(places))
        number = max(1, min(limits))
    else:
        number = jobs
    if number == 1:
        return [Slot()]
    share = max(1, machine.usable // number)
    apart = share >= threads and not machine.gpus
    cores = split(machine.cores, number) if apart else [()] * number
    names: list[str | None] = [None] * number
    if len(machine.gpus) > 1:
        # Beyond what fits, the user's number counts: round and round over all of them.
        order = places + [gpu.name for gpu in machine.gpus] * number
        names = list(order[:number])
    return [Slot(share, cores[i], names[i]) for i in range(min(number, count))]


def gpu_places(gpus: Sequence[Gpu]) -> list[str]:
    """The names of the GPUs round robin, each as often as jobs fit into its free memory."""
    room = [MOST_PER_GPU if gpu.free is None else gpu.free // GPU_JOB for gpu in gpus]
    rounds = range(MOST_PER_GPU)
    return [g.name for turn in rounds for g, fits in zip(gpus, room, strict=True) if turn < fits]


def split(cores: Sequence[int], parts: int) -> list[tuple[int, ...]]:
    """Disjoint neighbouring parts of nearly equal size; empty ones if there are too few cores."""
    if parts > len(cores):
        return [()] * parts
    edges = [len(cores) * i // parts for i in range(parts + 1)]
    return [tuple(cores[a:b]) for a, b in pairwise(edges)]


def describe(slots: Sequence[Slot], gpus: Sequence[Gpu] = ()) -> str:
    """`4 at a time, 2 threads each, on 2 GPUs`."""
    text = f"{len(slots)} at a time"
    if (threads := slots[0].threads) is not None:
        text += f", {threads} thread{'s' if threads > 1 else ''} each"
    if used := len({slot.gpu for slot in slots} - {None}):
        text += f", on {used} GPUs"
    elif gpus and len(slots) > 1:
        text += ", on one GPU"
    return text
