"""Commands that run side by side, each in a process of its own, and can be stopped together."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewire.progress import Pace
from rewire.sweep.slots import Slot

PATIENCE = 10.0  # seconds between asking a process to end and ending it
# A terminal's Ctrl+C, a scheduler's or `kill`'s request, a terminal that closes.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Job:
    """One command.

    Attributes:
        label: stands before each of its lines on the terminal.
        command: program and arguments.
        log: file for everything that it says.
        state: folder with what it goes on from when it was stopped; it changes as the job advances.
    """

    label: str
    command: Sequence[str]
    log: Path
    state: Path | None = None


class Jobs:
    """Runs jobs, one per slot at a time, in the order given.

    SIGINT, SIGTERM and SIGHUP stop what runs and start nothing more; a second one does not wait.
    Children are in process groups of their own, so that a terminal's Ctrl+C reaches this process
    alone and whatever they have started ends with them.

    Attributes:
        stopped: the signal that ended it early, None if it came to its end.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.stopped: int | None = None
        self._slots = slots
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.RLock()  # a second signal interrupts the handler of the first

    def run(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """Run all jobs; a failing one does not stop the others.

        Returns:
            Per job `status` ("done", "skipped": its result was there, "failed", "stopped"),
            `error` (why it has no result, else None) and, if it was started, `seconds`.
        """
        rows: list[dict[str, Any]] = [{"status": "stopped", "error": "not started"} for _ in jobs]
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in range(len(jobs)):
            waiting.put(index)

        pace = Pace(len(jobs))

        def work(slot: Slot) -> None:
            use_cores(slot)
            with contextlib.suppress(queue.Empty):
                while self.stopped is None:
                    index = waiting.get_nowait()
                    rows[index] = self._run(jobs[index], slot)
                    if self.stopped is None:
                        with self._lock:
                            left = pace.another()
                        say(f"{jobs[index].label}: {rows[index]['status']}{left}")

        with self._stoppable(), ThreadPoolExecutor(len(self._slots)) as pool:
            list(pool.map(work, self._slots))
        return rows

    def _run(self, job: Job, slot: Slot) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            code, lines = self._follow(job, environment(slot, os.environ))
        except OSError as error:  # no process, no log file
            code, lines = 1, [f"error: {error}"]
        row = outcome(code, lines, stopped=self.stopped)
        return row | {"seconds": round(time.perf_counter() - started, 1)}

    def _follow(self, job: Job, env: Mapping[str, str]) -> tuple[int, list[str]]:
        """Exit code and lines of a job; the lines are also shown and kept in its log."""
        job.log.parent.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        with open(job.log, "wb", buffering=0) as log:
            with self._lock:
                if self.stopped is not None:
                    return 1, lines
                process = subprocess.Popen(
                    job.command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                    errors="replace",
                    env=env,
                    process_group=0,
                )
                self._running.add(process)
            say(f"{job.label}: started")
            with process:
                assert process.stdout is not None
                for line in process.stdout:
                    with contextlib.suppress(OSError):  # a full disk costs the log, not the job
                        log.write(line.encode())
                    lines.append(line.rstrip())
                    if self.stopped is None:  # how a process ends when asked is of no interest
                        say(f"{job.label}: {line.rstrip()}")
            with self._lock:
                self._running.discard(process)
        return process.returncode, lines

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Let signals stop the jobs, except those that this process was told to ignore (nohup)."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's
            return
        heeded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._stop) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: object = None) -> None:
        with self._lock:
            again, self.stopped = self.stopped is not None, self.stopped or number
            self._end(signal.SIGKILL if again else signal.SIGTERM)
        if not again:
            timer = threading.Timer(PATIENCE, self._end, [signal.SIGKILL])
            timer.daemon = True
            timer.start()

    def _end(self, number: int) -> None:
        with self._lock:
            for process in self._running:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, number)


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


def use_cores(slot: Slot) -> None:
    """Keep this thread, and so every process that it starts, on the slot's cores.

    Set before the process exists, so it has no thread that could escape, unlike with a call
    after its start; and nothing runs between fork and exec, which is unsafe beside threads.
    """
    if slot.cores and hasattr(os, "sched_setaffinity"):
        # A core may have been taken away since it was listed: then anywhere.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, slot.cores)  # on Linux: of the calling thread


def environment(slot: Slot, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of a job in `slot`; fewer threads that the user asked for stay fewer."""
    env = dict(base) | {"PYTHONUNBUFFERED": "1"}
    if slot.threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            given = base.get(name, "")
            asked = int(given) if given.isdigit() and int(given) else slot.threads
            env[name] = str(min(slot.threads, asked))
    if slot.gpu is not None:
        env["CUDA_VISIBLE_DEVICES"] = slot.gpu
    return env


def outcome(code: int, lines: Sequence[str], *, stopped: int | None) -> dict[str, Any]:
    """`status` and `error` of a job that has ended, by its exit code and what it said.

    The exit code alone does not tell: Lightning answers SIGTERM by leaving with 0, nothing written.
    """
    if code == 0 and any(line.startswith("finished already") for line in lines):
        return {"status": "skipped", "error": None}
    if code == 0 and any(line.startswith("wrote ") for line in lines):
        return {"status": "done", "error": None}
    if stopped is not None:
        return {"status": "stopped", "error": signal.Signals(stopped).name}
    return {"status": "failed", "error": last_words(lines, code)}


def last_words(lines: Sequence[str], code: int) -> str:
    """What a failed job said last: its error line if it has one; never Hydra's hint."""
    if code == 0:
        return "it ended without a result"
    said = [line for line in lines if line.strip() and "HYDRA_FULL_ERROR" not in line]
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    if code < 0 and not errors:
        return f"ended by {signal.Signals(-code).name}"
    return (errors or said or [f"exit code {code}"])[-1]


def say(line: str) -> None:
    """Show a line in one piece, whatever other threads show."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
