"""The jobs of a sweep on a cluster: Slurm through submitit (`hydra.launcher.engine=submitit`).

Every job is the same command as on this machine; the folder with outputs must be one that the nodes
see, too. A job that Slurm ends to make room, or at its time limit, is queued again and goes on from
its last training state.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewire.errors import InputError, unknown_name
from rewire.stages.jobs import PATIENCE, Job, Jobs, environment, outcome, say
from rewire.stages.packing import Slot

KINDS = ("slurm", "local")
PAUSE = 1.0  # seconds between two looks at what runs; submitit asks Slurm less often


def check_cluster(settings: Mapping[str, Any]) -> None:
    """Raises `InputError` for resources that cannot be asked for, or without submitit."""
    if settings["kind"] not in KINDS:
        raise unknown_name("hydra.launcher.cluster.kind", settings["kind"], KINDS)
    for name, low in (("minutes", 1), ("cpus", 1), ("gpus", 0), ("memory_gb", 1)):
        value = settings[name]
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= low
        if not whole and not (name == "memory_gb" and value is None):
            raise InputError(
                f"hydra.launcher.cluster.{name} is {value}. Allowed: a whole number from {low}."
            )
    if importlib.util.find_spec("submitit") is None:
        raise InputError(
            "hydra.launcher.engine is submitit, but submitit is not installed. "
            "Allowed: pip install 'rewire[cluster]', or hydra.launcher.engine=local."
        )


def resources(settings: Mapping[str, Any], at_a_time: int) -> dict[str, Any]:
    """What every job asks for, as submitit's AutoExecutor names it."""
    asked = {
        "name": "rewire",
        "timeout_min": settings["minutes"],
        "cpus_per_task": settings["cpus"],
        "gpus_per_node": settings["gpus"],
        "mem_gb": settings["memory_gb"],
        "slurm_partition": settings["partition"],
        "slurm_array_parallelism": at_a_time,
        "slurm_additional_parameters": dict(settings["more"]) or None,
    }
    return {name: value for name, value in asked.items() if value is not None}


class Command:
    """A job as it runs on a node.

    Calling it gives exit code, lines and seconds; everything it says goes to the job's log.
    """

    def __init__(self, job: Job, *, cpus: int) -> None:
        self.job, self.cpus = job, cpus
        self._process: subprocess.Popen | None = None

    def __call__(self) -> tuple[int, list[str], float]:
        started, lines = time.perf_counter(), []
        self.job.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.job.log, "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self.job.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                env=environment(Slot(threads=self.cpus), os.environ),
                process_group=0,
            )
            try:
                with self._process.stdout as said:
                    for line in said:
                        log.write(line)
                        log.flush()
                        lines.append(line.rstrip())
                code = self._process.wait()
            finally:
                self._end()
        return code, lines, time.perf_counter() - started

    def checkpoint(self) -> Any:
        """submitit asks what to queue when the job is ended before its end: the same again."""
        self._end()
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Command(self.job, cpus=self.cpus))

    def _end(self) -> None:
        """End whatever the job has started: nothing may go on beside the job's next start."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


@contextlib.contextmanager
def ends_by_interrupt() -> Iterator[None]:
    """Let what is started inside heed SIGINT, by which submitit ends the jobs of this machine.

    A process that a script started in the background ignores it, and its children would, too.
    """
    main = threading.current_thread() is threading.main_thread()
    ignored = main and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


class ClusterJobs(Jobs):
    """Runs jobs on a cluster; signals stop them as they stop jobs of this machine.

    Args:
        settings: `hydra.launcher.cluster`, checked.
        at_a_time: jobs that run side by side.
        folder: for submitit's own files.
    """

    def __init__(self, settings: Mapping[str, Any], *, at_a_time: int, folder: Path) -> None:
        super().__init__([])
        self._settings, self._at_a_time, self._folder = settings, at_a_time, folder
        self._submitted: dict[int, Any] = {}
        self._cancelled: float | None = None  # when

    def run(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """See `Jobs.run`."""
        import submitit

        executor = submitit.AutoExecutor(folder=self._folder, cluster=self._settings["kind"])
        executor.update_parameters(**resources(self._settings, self._at_a_time))
        rows: list[dict[str, Any]] = [{"status": "stopped", "error": "not started"} for _ in jobs]
        waiting = list(range(len(jobs)))
        # Slurm itself keeps to the number at a time; submitit's local executor has no queue.
        limit = len(jobs) if self._settings["kind"] == "slurm" else self._at_a_time
        with self._stoppable():
            while self._submitted or (waiting and self.stopped is None):
                with self._lock:
                    if waiting and self.stopped is None and len(self._submitted) < limit:
                        now = waiting[: limit - len(self._submitted)]
                        del waiting[: len(now)]
                        self._submit(executor, jobs, now)
                for index in [i for i, job in self._submitted.items() if job.done()]:
                    rows[index] = self._collect(jobs[index], self._submitted.pop(index))
                if self._given_up():
                    break
                time.sleep(PAUSE)
        for index in self._submitted:
            rows[index] = outcome(1, [], stopped=self.stopped)
        return rows

    def _submit(self, executor: Any, jobs: Sequence[Job], chosen: Sequence[int]) -> None:
        commands = [Command(jobs[index], cpus=self._settings["cpus"]) for index in chosen]
        with ends_by_interrupt(), executor.batch():
            submitted = [executor.submit(command) for command in commands]
        for index, job in zip(chosen, submitted, strict=True):
            self._submitted[index] = job
            say(f"{jobs[index].label}: submitted as {job.job_id}")

    def _given_up(self) -> bool:
        """Whether cancelled jobs had time to end; without accounting Slurm never says they did."""
        return self._cancelled is not None and time.monotonic() - self._cancelled > PATIENCE

    def _collect(self, job: Job, submitted: Any) -> dict[str, Any]:
        if self.stopped is not None and not submitted.paths.result_pickle.exists():
            return outcome(1, [], stopped=self.stopped)  # submitit would wait for that file
        try:
            code, lines, seconds = submitted.result()
        except Exception as error:  # whatever submitit or the cluster has to say
            row = outcome(1, [str(error).strip()], stopped=self.stopped)
        else:
            row = outcome(code, lines, stopped=self.stopped) | {"seconds": round(seconds, 1)}
        if row["status"] != "stopped":
            say(f"{job.label}: {row['error'] or row['status']} (log: {job.log})")
        return row

    def _end(self, number: int) -> None:
        with self._lock:
            self._cancelled = self._cancelled or time.monotonic()
            for job in self._submitted.values():
                with contextlib.suppress(Exception):  # one that ended meanwhile
                    job.cancel()
