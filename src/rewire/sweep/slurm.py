"""The jobs of a sweep on a cluster: Slurm through submitit (`hydra.launcher.engine=submitit`).

Every job is the same command as on this machine; the folder with outputs must be one that the nodes
see, too. A job that Slurm ends to make room, or at its time limit, is queued again and goes on from
its last training state. What became of it stands in a file that the job writes (`sweep.node`);
where it is meanwhile is asked of Slurm (`sweep.slurm_commands`). So a sweep whose own process was
killed loses nothing: started again, it finds the jobs of the first one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rewire.errors import InputError, unknown_name
from rewire.files import read_json
from rewire.pipeline.lock import alone
from rewire.progress import Pace
from rewire.sweep import slurm_commands as slurm
from rewire.sweep.local import PATIENCE, Job, Jobs, ends_by_interrupt, outcome, say
from rewire.sweep.node import Command

KINDS = ("slurm", "local")
SHORTEST = 3  # minutes: Slurm warns up to two and a half before the end
PAUSE = 1.0  # seconds between two looks at what the jobs have written
LOOK = 10.0  # seconds between two questions to Slurm
GRACE = 30.0  # seconds for a file of a node to appear here
OFTEN = 10**6  # time limits that submitit lets a job reach; here its progress decides
UNSENT = r"[0-9a-f]{32}\.pkl"  # how submitit names a job that has no number yet


def check_cluster(settings: Mapping[str, Any]) -> None:
    """Raises `InputError` for resources that cannot be asked for, or without submitit or Slurm."""
    if settings["kind"] not in KINDS:
        raise unknown_name("hydra.launcher.cluster.kind", settings["kind"], KINDS)
    for name, low in (("minutes", SHORTEST), ("cpus", 1), ("gpus", 0), ("memory_gb", 1)):
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
    missing = [name for name in ("sbatch", "srun", "squeue") if shutil.which(name) is None]
    if settings["kind"] == "slurm" and missing:
        raise InputError(
            f"hydra.launcher.engine is submitit, but there is no {missing[0]} here. "
            "Allowed: a machine that can submit to Slurm, or hydra.launcher.engine=local."
        )


def resources(settings: Mapping[str, Any], at_a_time: int) -> dict[str, Any]:
    """What every job asks for, as submitit's AutoExecutor names it."""
    asked = {
        "timeout_min": settings["minutes"],
        "cpus_per_task": settings["cpus"],
        "gpus_per_node": settings["gpus"],
        "mem_gb": settings["memory_gb"],
        "slurm_partition": settings["partition"],
        "slurm_array_parallelism": at_a_time,
        # Some clusters end a job to make room without queueing it again, unless it is asked for.
        "slurm_additional_parameters": {"requeue": True} | dict(settings["more"]),
    }
    return {name: value for name, value in asked.items() if value is not None}


@dataclass
class Submitted:
    """A job that is on the cluster.

    Attributes:
        command: what runs there.
        handle: submitit's view of it.
        state: what the cluster said last, if it said anything.
        ended: since when it says that the job has ended, None while it goes on.
    """

    command: Command
    handle: Any
    state: str = ""
    ended: float | None = None


class RefusedError(Exception):
    """The cluster does not take a job; the text says why."""


class ClusterJobs(Jobs):
    """Runs jobs on a cluster; signals stop them as they stop jobs of this machine.

    Args:
        settings: `hydra.launcher.cluster`, checked.
        at_a_time: jobs that run side by side.
        folder: for submitit's own files, and for what becomes of the jobs.
    """

    def __init__(self, settings: Mapping[str, Any], *, at_a_time: int, folder: Path) -> None:
        super().__init__([])
        self._settings, self._at_a_time = settings, at_a_time
        self._folder = folder.absolute()
        self._slurm = settings["kind"] == "slurm"
        self._submitted: dict[int, Submitted] = {}
        self._waiting: list[int] = []
        self._cancelled: float | None = None  # when
        self._full: int | None = None  # jobs on the cluster when it took no more
        self._looked, self._line = float("-inf"), ""
        self._pace = Pace(0)

    def run(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """See `Jobs.run`; raises `InputError` for jobs that the cluster refuses."""
        import submitit

        self._folder.mkdir(parents=True, exist_ok=True)
        executor = submitit.AutoExecutor(
            folder=self._folder,
            cluster=self._settings["kind"],
            slurm_max_num_timeout=OFTEN,
        )
        executor.update_parameters(**resources(self._settings, self._at_a_time))
        rows: list[dict[str, Any]] = [{"status": "stopped", "error": "not started"} for _ in jobs]
        self._waiting, self._pace = list(range(len(jobs))), Pace(len(jobs))
        largest = slurm.array_limit() if self._slurm else self._at_a_time
        with self._stoppable():
            while self._submitted or (self._waiting and self.stopped is None):
                self._offer(executor, jobs, largest)
                self._look()
                for index in self._over():
                    rows[index] = self._collect(jobs[index], self._submitted.pop(index))
                if self._given_up():
                    break
                time.sleep(PAUSE)
        for index in self._submitted:
            rows[index] = outcome(1, [], stopped=self.stopped)
        return rows

    def _offer(self, executor: Any, jobs: Sequence[Job], largest: int) -> None:
        """Submit what the cluster may have now, in arrays of the `largest` size that it allows."""
        while self._waiting and self.stopped is None and self._room(largest) > 0:
            try:
                # Another sweep may be about to submit the same.
                with alone(self._folder / "submitting"), self._lock:
                    if self._slurm:
                        self._find(jobs)
                    piece = self._waiting[: self._room(largest)]
                    if piece:
                        self._submit(executor, jobs, piece)
            except RefusedError as error:
                if not self._submitted:
                    raise InputError(
                        f"the cluster refuses the jobs: {error}. "
                        "Allowed: hydra.launcher.cluster as its partitions (sinfo) permit."
                    ) from error
                say(f"{len(self._waiting)} held back until another one has ended: {error}")
                self._full = len(self._submitted)
                return
            del self._waiting[: len(piece)]
            self._full = None
        if self._submitted and self.stopped is not None:
            self._end(self.stopped)  # it came while they were being submitted

    def _room(self, largest: int) -> int:
        """Jobs that can be submitted now. Slurm keeps to a number at a time within one array."""
        if not self._slurm:
            return self._at_a_time - len(self._submitted)
        if self._full is not None and len(self._submitted) >= self._full:
            return 0
        everything = len(self._waiting) + len(self._submitted)
        return largest if not self._submitted or self._at_a_time >= everything else 0

    def _find(self, jobs: Sequence[Job]) -> None:
        """Follow the jobs of an earlier sweep that are still there, instead of their repetition."""
        import submitit

        wanted = {(job.log, tuple(job.command)): index for index, job in enumerate(jobs)}
        queue = slurm.queue()
        if queue is None:
            raise RefusedError("squeue does not answer")
        for number, queued in queue.items():
            handle: submitit.Job[Any] = submitit.SlurmJob(self._folder, number)
            if queued.ended or not handle.paths.submitted_pickle.is_file():
                continue
            command = cast(Command, handle.submission().function)
            index = wanted.get((command.job.log, tuple(command.job.command)))
            if command.name == queued.name and index in self._waiting:
                self._waiting.remove(index)
                self._submitted[index] = Submitted(command, handle)
                say(f"{jobs[index].label}: submitted already as {number}")

    def _submit(self, executor: Any, jobs: Sequence[Job], chosen: Sequence[int]) -> None:
        name = f"rewire-{secrets.token_hex(4)}"
        made = {"cpus": self._settings["cpus"], "minutes": self._settings["minutes"], "name": name}
        commands = [
            Command(jobs[index], end=self._folder / f"{name}-{index}.json", **made)
            for index in chosen
        ]
        executor.update_parameters(name=name)
        before = set(self._unsent())
        try:
            # submitit prints what sbatch says; here it becomes one line.
            with contextlib.redirect_stderr(io.StringIO()), ends_by_interrupt(), executor.batch():
                handles = [executor.submit(command) for command in commands]
        except Exception as error:  # whatever submitit makes of sbatch's answer
            for path in set(self._unsent()) - before:
                path.unlink()
            raise RefusedError(slurm.refusal(str(error))) from error
        for index, command, handle in zip(chosen, commands, handles, strict=True):
            self._submitted[index] = Submitted(command, handle)
            say(f"{jobs[index].label}: submitted as {handle.job_id}")

    def _unsent(self) -> list[Path]:
        """submitit's files of jobs that have no number yet."""
        return [
            path
            for path in self._folder.iterdir()
            if path.name.startswith(".submission_file_") or re.fullmatch(UNSENT, path.name)
        ]

    def _look(self) -> None:
        """Ask the cluster where the jobs are, and show it when it has changed."""
        now = time.monotonic()
        if not self._slurm:
            for job in self._submitted.values():
                job.ended = job.ended or (now - GRACE if job.handle.done() else None)
            return
        if now - self._looked < LOOK:
            return
        self._looked, queue = now, slurm.queue()
        if queue is None:
            line = "Slurm does not answer; the jobs are waited for"
        else:
            states = {i: queue.get(job.handle.job_id) for i, job in self._submitted.items()}
            for index, state in states.items():
                job, gone = self._submitted[index], state is None or state.ended
                job.state = job.state if state is None else state.state
                job.ended = (job.ended or now) if gone else None
            line = slurm.in_line(state for state in states.values() if state is not None)
        if line and line != self._line:
            say(f"on the cluster: {line}")
        self._line = line

    def _over(self) -> list[int]:
        """Jobs whose end is written, or that have ended without writing one."""
        there = {path.name for path in self._folder.iterdir()}  # a listing is never a stale one
        now = time.monotonic()
        return [
            index
            for index, job in self._submitted.items()
            if job.command.end.name in there or (job.ended is not None and now - job.ended >= GRACE)
        ]

    def _given_up(self) -> bool:
        """Whether cancelled jobs had time to end."""
        return self._cancelled is not None and time.monotonic() - self._cancelled > PATIENCE

    def _collect(self, job: Job, submitted: Submitted) -> dict[str, Any]:
        try:
            row = read_json(submitted.command.end)
        except InputError:
            state = submitted.state or "no longer known to the cluster"
            said = f"job {submitted.handle.job_id} ended without a result: {state}"
            row = outcome(1, [said], stopped=self.stopped)
        if row["status"] != "stopped":
            left = self._pace.another()
            say(f"{job.label}: {row['error'] or row['status']} (log: {job.log}){left}")
        return row

    def _end(self, number: int) -> None:
        with self._lock:
            self._cancelled = self._cancelled or time.monotonic()
            handles = [job.handle for job in self._submitted.values()]
            if self._slurm:
                slurm.cancel([handle.job_id for handle in handles])
                return
            for handle in handles:
                with contextlib.suppress(Exception):  # one that ended meanwhile
                    handle.cancel()
