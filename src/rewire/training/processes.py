"""The processes of one training: started, connected, and ended with the first one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from rewire.errors import InputError
from rewire.training.distributed import ALONE, Group

TIMEOUT = timedelta(minutes=10)  # of one exchange; an epoch's evaluation is shorter
GRACE = 10.0  # seconds for an orderly end after another process has failed
LOOPBACK = {"linux": "lo", "darwin": "lo0"}
HELPER = "from rewire.training.processes import help_out; help_out()"


def check_processes(count: object, *, batch_size: int, device: torch.device, compiling: Any) -> int:
    """`trainer.processes` if it can be used; else raises `InputError`."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"trainer.processes is {count}. Allowed: a whole number from 1.")
    if count == 1:
        return count
    if batch_size % count:
        raise InputError(
            f"trainer.processes is {count}, which does not divide trainer.batch_size "
            f"{batch_size}. Allowed: a divisor."
        )
    if device.type == "cuda" and count > torch.cuda.device_count():
        raise InputError(
            f"trainer.processes is {count}, but {torch.cuda.device_count()} GPUs are usable. "
            "Allowed: one process per GPU, or trainer.device=cpu."
        )
    if compiling:
        raise InputError(
            f"trainer.processes is {count} and trainer.compile is {compiling}: a compiled step "
            "cannot exchange statistics. Allowed: trainer.compile=false, or one process."
        )
    return count


@contextlib.contextmanager
def together(
    count: int, config: Mapping[str, Any], *, checkpoints: Path, device: torch.device
) -> Iterator[Group]:
    """Start the other processes of this training; whatever ends the block ends them.

    Args:
        count: number of processes, checked; 1 starts none.
        config: of the training; the others get the same.
        checkpoints: folder of the state to resume from; only this process writes there.
        device: where to compute; on GPUs each process has one of its own.

    Raises:
        RuntimeError: if another process failed; it has said why.
    """
    if count == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory(prefix="rewire-") as folder, contextlib.ExitStack() as stack:
        meeting = f"{folder}/meeting"
        job = {"config": dict(config), "checkpoints": str(checkpoints), "size": count}
        job |= {"meeting": meeting, "device": device.type}
        helpers = [start_helper(job | {"rank": rank}) for rank in range(1, count)]
        stack.callback(end_helpers, helpers)
        over = threading.Event()
        stack.callback(over.set)
        for rank, helper in enumerate(helpers, start=1):
            watch = threading.Thread(target=leave_if_it_fails, args=(helper, rank, count, over))
            watch.daemon = True
            watch.start()
        group = Group(0, count)
        with joined(group, meeting=meeting, device=device.type):
            try:
                yield group
            except RuntimeError as error:
                # That of a broken connection says nothing about who broke it.
                if any(helper.poll() for helper in helpers):
                    raise RuntimeError(f"another of the {count} processes failed") from error
                raise
            for helper in helpers:
                helper.wait(TIMEOUT.total_seconds())


def start_helper(job: Mapping[str, Any]) -> subprocess.Popen:
    """A process that computes its share of `job`. It ends when its standard input does."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if job["device"] == "cuda":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else list(map(str, range(job["size"])))
        env["CUDA_VISIBLE_DEVICES"] = names[job["rank"]].strip()
    helper = subprocess.Popen(
        [sys.executable, "-c", HELPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=env,
        text=True,
        process_group=0,  # a terminal's Ctrl+C is for the first process
    )
    helper.stdin.write(json.dumps(job) + "\n")
    helper.stdin.flush()
    return helper


def end_helpers(helpers: Sequence[subprocess.Popen]) -> None:
    for helper in helpers:
        helper.kill()
        helper.wait()
        with contextlib.suppress(OSError):
            helper.stdin.close()


def leave_if_it_fails(
    helper: subprocess.Popen, rank: int, size: int, over: threading.Event
) -> None:
    """End this process, too, if a helper does: an exchange on a GPU would wait for it for ever."""
    code = helper.wait()
    if code and not over.is_set():
        print(f"error: process {rank + 1} of {size} ended with {code}", file=sys.stderr, flush=True)
        if not over.wait(GRACE):
            os._exit(1)


def help_out() -> None:
    """The whole life of a helper: its job is the first line of its standard input."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=leave_with_the_first_process, daemon=True).start()
    from rewire.tracking import NullTracker
    from rewire.training.runner import fit_network

    group = Group(job["rank"], job["size"])
    try:
        with joined(group, meeting=job["meeting"], device=job["device"]):
            fit_network(
                job["config"],
                checkpoints=Path(job["checkpoints"]),
                tracker=NullTracker(),
                report=lambda line: None,
                group=group,
            )
    except InputError:
        sys.exit(2)  # the first process says it


def leave_with_the_first_process() -> None:
    sys.stdin.read()
    os._exit(1)


@contextlib.contextmanager
def joined(group: Group, *, meeting: str, device: str) -> Iterator[None]:
    """Connect this process with the others, through a file that all of them know."""
    # All of them are on this machine: no other interface, whose name may not resolve.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK.get(sys.platform, ""))
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        init_method=f"file://{meeting}",
        rank=group.rank,
        world_size=group.size,
        timeout=TIMEOUT,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()
