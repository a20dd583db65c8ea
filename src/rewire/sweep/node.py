"""A job as it runs on a node of a cluster: followed, stopped, queued again, its end written."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rewire.files import write_json
from rewire.sweep.local import Job, environment, outcome
from rewire.sweep.slots import Slot

WARNING = 90  # seconds before the time limit at which submitit asks Slurm for SIGUSR2
EARLY = 60  # Slurm may send it so many seconds earlier
ASKED = (-signal.SIGTERM, 128 + signal.SIGTERM)  # exit codes of a process that was asked to end
# Slurm sends its signals to all processes of a job. The one that warns of the time limit is for
# this one alone; what it starts would die of it, in an order that nobody knows.
HEEDLESS = ("sh", "-c", 'trap "" USR2; exec "$@"', "sh")


@dataclass
class Command:
    """One cell's command; calling it runs it, and it leaves the process with its exit code.

    What became of the cell is in the file `end`, so that any driver can read it. No file is
    written where the cluster ended the job: then it is queued again, or whoever asks the cluster
    is told. A job that was ended between its result and its own end, and so finds it finished when
    it is started again, has done it.

    Attributes:
        job: what to run; all that it says goes behind what its log holds already.
        cpus: threads that it may use.
        minutes: time limit of one start.
        name: of the array that it was submitted in.
        end: file for `status`, `error` and `seconds` (of all starts), see `Jobs.run`.
        spent: seconds of the starts before this one.
    """

    job: Job
    cpus: int
    minutes: int
    name: str
    end: Path
    spent: float = 0.0
    _process: subprocess.Popen | None = field(default=None, repr=False, compare=False)
    _before: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False, compare=False)
    _started: float = field(default=0.0, repr=False, compare=False)

    def __call__(self) -> None:
        signal_here(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        self._started, self._before = time.monotonic(), footprint(self.job.state)
        code, lines = self._follow()
        if code in ASKED:
            time.sleep(1.0)  # the same signal is about to end this process, too
        row = outcome(code, lines, stopped=None)
        if row["status"] == "skipped" and os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
            row["status"] = "done"
        self._record(row)
        if row["status"] == "failed":
            sys.exit(code if 0 < code < 256 else 1)

    def _follow(self) -> tuple[int, list[str]]:
        lines: list[str] = []
        self.job.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.job.log, "a", encoding="utf-8") as log:
            if log.tell():
                log.write(f"-- started again, {time.strftime('%Y-%m-%d %H:%M:%S')} --\n")
            try:
                self._process = subprocess.Popen(
                    (*HEEDLESS, *self.job.command),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                    errors="replace",
                    env=environment(Slot(threads=self.cpus), os.environ),
                    process_group=0,
                )
                assert self._process.stdout is not None
                with self._process.stdout as said:
                    for line in said:
                        log.write(line)
                        log.flush()
                        lines.append(line.rstrip())
                return self._process.wait(), lines
            finally:
                self._end()

    def checkpoint(self) -> Any:
        """submitit asks what to queue when the job is to make room or out of time: the same again.

        None, so that it is not queued, if it had all its time and came no step further.
        """
        signal_here(signal.SIGTERM, signal.SIG_IGN)  # comes with being queued again
        self._end()
        late = time.monotonic() - self._started > 60 * self.minutes - WARNING - EARLY
        if late and footprint(self.job.state) == self._before:
            limit = f"hydra.launcher.cluster.minutes={self.minutes}"
            error = f"no step further within the time limit ({limit}). Allowed: a longer one."
            self._record({"status": "failed", "error": error})
            return None
        from submitit.helpers import DelayedSubmission

        again = replace(self, spent=self._seconds(), _process=None, _before={}, _started=0.0)
        return DelayedSubmission(again)

    def _record(self, row: dict[str, Any]) -> None:
        write_json(self.end, row | {"seconds": round(self._seconds(), 1)})

    def _seconds(self) -> float:
        return self.spent + time.monotonic() - self._started

    def _end(self) -> None:
        """End whatever the job has started: nothing may go on beside the job's next start."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def footprint(folder: Path | None) -> dict[str, tuple[int, int]]:
    """Time and size of every file below `folder`: it differs once a job's state has advanced."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder is not None else ():
        with contextlib.suppress(OSError):  # replaced at this moment
            status = path.stat()
            found[str(path)] = (status.st_mtime_ns, status.st_size)
    return found


def signal_here(number: int, handler: Any) -> None:
    """Set a handler where that is possible: in the main thread, where submitit runs its jobs."""
    with contextlib.suppress(ValueError):
        signal.signal(number, handler)
