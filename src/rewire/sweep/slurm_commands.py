"""What Slurm says of this user's jobs, by `squeue` and `scontrol`: no accounting is needed."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ANSWER = 60.0  # seconds for an answer
# In all other states a job runs, will run, or is about to be queued again.
ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "REVOKED", "TIMEOUT",
}  # fmt: skip
ARRAY_LIMIT = 1001  # Slurm's standard MaxArraySize


@dataclass(frozen=True)
class Queued:
    """A job as Slurm knows it.

    Attributes:
        name: given by whoever submitted it.
        state: `PENDING`, `RUNNING`, ...
        reason: why it waits.
    """

    name: str
    state: str
    reason: str

    @property
    def ended(self) -> bool:
        return self.state in ENDED


def queue() -> dict[str, Queued] | None:
    """This user's jobs by id (`17`, or `17_3` in an array), recently ended ones included.

    None if Slurm does not answer: then nothing is known.
    """
    said = answer(
        ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%r|%j"]
    )
    if said is None:
        return None
    rows = [line.split("|", 3) for line in said.splitlines()]
    return {row[0]: Queued(row[3], row[1], row[2]) for row in rows if len(row) == 4}


def array_limit() -> int:
    """How many jobs one array can hold, at least 1."""
    found = re.search(
        r"^MaxArraySize\s*=\s*(\d+)", answer(["scontrol", "show", "config"]) or "", re.M
    )
    return max(1, int(found[1])) if found else ARRAY_LIMIT


def cancel(ids: Sequence[str]) -> None:
    """Cancel jobs; those that have ended meanwhile do not matter."""
    if ids:
        answer(["scancel", *ids])


def answer(command: Sequence[str]) -> str | None:
    """What a command of Slurm prints; None if it fails or says nothing in time."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def in_line(jobs: Iterable[Queued]) -> str:
    """`2 run, 3 wait (Priority 2, Resources 1)`; empty if there are none."""
    jobs = [job for job in jobs if not job.ended]
    waiting = [job.reason for job in jobs if job.state == "PENDING"]
    reasons = Counter("just submitted" if reason == "None" else reason for reason in waiting)
    others = Counter(job.state.lower() for job in jobs if job.state not in ("PENDING", "RUNNING"))
    running = sum(job.state == "RUNNING" for job in jobs)
    parts = [f"{running} run"] if running else []
    if reasons:
        parts.append(f"{reasons.total()} wait ({listed(reasons)})")
    return ", ".join([*parts, *([listed(others)] if others else [])])


def listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def refusal(said: str) -> str:
    """What sbatch says against a job, in one line."""
    lines = [re.sub(r"^\w+: (error: )?", "", line.strip()) for line in said.splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith("Try "))
