"""Two starts of one cell at the same time: the second waits, whatever started them."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # a system without such locks: two starts must not overlap there
    fcntl = None


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock file `path` inside the block; wait while another process holds it.

    The kernel releases the lock when its process ends, however it ends: the file that a killed
    one leaves locks nobody out. Without locks in the system or in the file system, that is said
    once, and the block just runs.
    """
    if fcntl is None:
        say_unlocked(path.parent, "the system has none")
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _locked(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still held, see `_locked`
        handle.close()


@functools.cache  # once in a process
def say_unlocked(folder: Path, reason: str) -> None:
    """Tell that nothing keeps two starts of one cell apart."""
    print(f"note: no locks in '{folder}' ({reason}): do not start one cell twice at a time")


def _locked(path: Path) -> IO[bytes]:
    """The file `path`, open and locked."""
    told = False
    while True:
        handle = open(path, "ab")  # noqa: SIM115 (held open by the caller)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                print("waiting for another run of this cell", flush=True)
            told = True
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:  # a network file system without locks
            say_unlocked(path.parent, str(error.strerror))
            return handle
        # If the holder before us deleted the file, a lock on it keeps nobody else out.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                return handle
        handle.close()
