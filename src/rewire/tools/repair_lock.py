"""After a kill: `rewire repair` makes what DVC was writing readable again.

DVC empties dvc.lock and writes it anew after every stage, a third of a second for this pipeline,
and likewise its record of paths in use. Killed in between, it leaves a file at which the next
`dvc repro` stops. It also stops where the number of the killed DVC is that of another process by
then. What is cut off here costs nothing: DVC's cache of runs and the stages
themselves know their finished results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rewire.errors import InputError
from rewire.files import write_text
from rewire.tools.verify_lock import LOCK, read_lock

IN_USE, AT_WORK = Path(".dvc", "tmp", "rwlock"), Path(".dvc", "tmp", "lock")
OF_EXPERIMENTS = Path(".dvc", "tmp", "exps", "rwlock")
PROGRAMS = ("dvc", "rewire", "stage.py")  # that run DVC: alone, or as `rewire repro`
CLOCKS = 2.0  # seconds by which the clocks of files and of processes may differ
STAGE = re.compile(r"^  \S", re.MULTILINE)  # the first line of a stage in the lock file


def mend(root: Path) -> list[str]:
    """Cut off what is half-written in `root`; returns what was done, in words.

    Nothing is done while a DVC is writing there: what is half-written then is so for a moment.
    """
    with contextlib.ExitStack() as held:
        if (root / AT_WORK).is_file():
            try:
                held.enter_context(FileLock(root / AT_WORK, blocking=False))
            except Timeout:
                return []
        records = (root / IN_USE, root / OF_EXPERIMENTS)
        return [*mend_lock(root / LOCK), *(line for r in records for line in mend_in_use(r))]


def mend_lock(path: Path) -> list[str]:
    """Leave only whole stages in a lock file, or no file if there is none."""
    if not path.is_file() or is_whole(path):
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    starts = [match.start() for match in STAGE.finditer(text)]
    while starts:
        # The last stage is the one that was cut off; further ones only if the file is damaged.
        write_text(path, text[: starts.pop()])
        if is_whole(path):
            return [f"{path}: kept {len(starts)} whole stages"]
    path.unlink()
    return [f"{path}: no stage was whole, deleted"]


def is_whole(path: Path) -> bool:
    """Whether DVC can have written a lock file to its end."""
    try:
        text = path.read_text(encoding="utf-8")
        stages = bool(read_lock(path))
    except (InputError, UnicodeDecodeError):
        return False
    # A key without a value at the end was cut off; elsewhere it is an option that is null.
    return stages and text.endswith("\n") and not text.endswith(":\n")


def mend_in_use(path: Path) -> list[str]:
    """Take out of DVC's record of paths in use what no DVC uses any more.

    DVC believes that a path is in use as long as there is a process with the recorded number; a
    later process can have got it. A record that is half-written is deleted: its writer is gone.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        write, read = record.get("write", {}), record.get("read", {})
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError):
        path.unlink()
        return [f"{path}: half-written, deleted"]
    users = [*write.values(), *(info for found in read.values() for info in found)]
    distinct = [info for place, info in enumerate(users) if info not in users[:place]]
    gone = [info for info in distinct if not is_at_work(info, since=path.stat().st_mtime)]
    if not gone:
        return []
    left = {place: [info for info in found if info not in gone] for place, found in read.items()}
    kept = {
        "write": {place: info for place, info in write.items() if info not in gone},
        "read": {place: found for place, found in left.items() if found},
    }
    write_text(path, json.dumps(kept))
    numbers = ", ".join(sorted({str(info["pid"]) for info in gone}))
    return [f"{path}: not in use any more by process {numbers}"]


def is_at_work(info: dict[str, Any], *, since: float) -> bool:
    """Whether a process still is the DVC that recorded itself as `pid` and `cmd` before `since`."""
    import psutil  # DVC needs it, too

    try:
        process = psutil.Process(info["pid"])
        if process.create_time() > since + CLOCKS or process.status() == psutil.STATUS_ZOMBIE:
            return False
        # DVC records its file and arguments; the process may have an interpreter before them.
        arguments = info["cmd"].split()[1:]
        line = " ".join(process.cmdline()).split()
        start = len(line) - len(arguments)
        # The program alone: any process may lie in, or speak of, a folder of that name.
        return line[start:] == arguments and Path(line[start - 1]).name in PROGRAMS
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # that of another user: not known
        return True


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0; prints what was mended, nothing if all was whole."""
    parser = argparse.ArgumentParser(prog="rewire repair", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help=f"folder of {LOCK}")
    for line in mend(parser.parse_args(arguments).root):
        print(f"mended {line}")
    return 0
