"""Two starts of one cell at the same time: the second waits, whatever started them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock file `path` inside the block; wait while another process holds it.

    The kernel releases the lock when its process ends, however it ends: the file that a killed
    one leaves locks nobody out. Without locks in the system or in the file system, that is said
    once, and the block just runs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive a killed process
    try:
        _acquire(lock)
    except OSError as error:  # a network file system without locks
        say_unlocked(path.parent, str(error.strerror))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still held: a waiting process sees that it went
        lock.release()


@functools.cache  # once in a process
def say_unlocked(folder: Path, reason: str) -> None:
    """Tell that nothing keeps two starts of one cell apart."""
    print(f"note: no locks in '{folder}' ({reason}): do not start one cell twice at a time")


def _acquire(lock: FileLock) -> None:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print("waiting for another run of this cell", flush=True)
        lock.acquire()
