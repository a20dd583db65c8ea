"""What this process may use: cores, memory, GPUs; read from the system without importing torch."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from rewire.sweep.slots import Gpu, Machine

ROOT = Path("/")
MIB = 2**20
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=index,uuid,memory.free", "--format=csv,noheader,nounits")
# Names of the same limit in version 2 and 1 of Linux's control groups.
LIMIT, USED = ("memory.max", "memory.limit_in_bytes"), ("memory.current", "memory.usage_in_bytes")


def this_machine(*, use_gpu: bool) -> Machine:
    """Cores, processor quota, free memory and, if they are to be used, GPUs."""
    return Machine(
        cores=usable_cores(),
        quota=processor_quota(),
        memory=free_memory(),
        gpus=usable_gpus() if use_gpu else (),
    )


def usable_cores() -> tuple[int, ...]:
    """Logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def processor_quota(root: Path = ROOT) -> float | None:
    """Processor time that the control groups allow, in cores; None without a limit."""
    quotas = []
    for folder in control_groups("cpu", root):
        quota, _, period = read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = read(folder / "cpu.cfs_quota_us"), read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():  # "max" and "-1" are no limits
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def free_memory(root: Path = ROOT) -> int | None:
    """Bytes that can still be taken, from the system and its control groups; None if unknown."""
    free = []
    if kib := fields(root / "proc/meminfo").get("MemAvailable:"):
        free.append(kib * 1024)
    for folder in control_groups("memory", root):
        limit, used = (first(folder / name for name in names) for names in (LIMIT, USED))
        if limit is not None and used is not None:
            # Files that were read count as used until their memory is asked for.
            stat = fields(folder / "memory.stat")
            cache = stat.get("total_inactive_file", stat.get("inactive_file", 0))
            free.append(max(0, limit - used + cache))
    return min(free, default=None)


def control_groups(controller: str, root: Path = ROOT) -> Iterator[Path]:
    """Folders of the control groups of this process that can limit it, innermost first."""
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / "sys/fs/cgroup"
        if controllers:  # version 1
            if controller not in controllers.split(","):
                continue
            base /= controller
        inner = base / path.lstrip("/")
        yield inner
        # A container may see its own group as the root.
        yield from (folder for folder in inner.parents if folder.is_relative_to(base))


def usable_gpus(environment: Mapping[str, str] = os.environ) -> tuple[Gpu, ...]:
    """GPUs that CUDA would offer; none if torch was built without it or no driver answers."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        if metadata.version("torch").endswith("+cpu"):
            return ()
    try:
        answer = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return visible_gpus(answer.stdout, environment.get("CUDA_VISIBLE_DEVICES"))


def visible_gpus(listing: str, chosen: str | None) -> tuple[Gpu, ...]:
    """The GPUs of a listing that CUDA_VISIBLE_DEVICES leaves, in its order.

    Args:
        listing: lines `index, UUID, free MiB`, as `nvidia-smi` writes them.
        chosen: CUDA_VISIBLE_DEVICES: indices, (beginnings of) UUIDs, MIG devices; None if it is
            not set. As for CUDA, nothing counts from the first entry on that names no GPU.
    """
    rows = [[part.strip() for part in line.split(",")] for line in listing.splitlines()]
    rows = [row for row in rows if len(row) == 3 and row[0].isdigit()]
    if chosen is None:
        return tuple(Gpu(uuid, mebibytes(free)) for _, uuid, free in rows)
    gpus = []
    for entry in (entry.strip() for entry in chosen.split(",")):
        match = [row for row in rows if entry == row[0] or (entry and row[1].startswith(entry))]
        if not match and not entry.startswith("MIG-"):
            break
        gpus.append(Gpu(entry, mebibytes(match[0][2]) if match else None))
    return tuple(gpus)


def mebibytes(text: str) -> int | None:
    """Bytes of a number of MiB; None if it is none (`[N/A]`)."""
    return int(text) * MIB if text.isdigit() else None


def read(path: Path) -> str:
    """A small system file without its last newline; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def first(paths: Iterator[Path]) -> int | None:
    """The number in the first of these files that holds one."""
    return next((int(text) for path in paths if (text := read(path)).isdigit()), None)


def fields(path: Path) -> dict[str, int]:
    """`name number ...` lines of a system file."""
    lines: Sequence[list[str]] = [line.split() for line in read(path).splitlines()]
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}
