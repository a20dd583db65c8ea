"""Where, when and with what a number is measured now."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from rewire.provenance import Provenance, in_words

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "numpy",
    "pyautoattack",
    "scipy",
)


def provenance(
    *,
    seconds: float | None = None,
    elsewhere: Mapping[str, float] | None = None,
    arguments: Sequence[str] | None = None,
) -> Provenance:
    """Hardware, versions and commit of this process, and the wall-clock time of its work.

    Args:
        seconds: of the work, on all machines.
        elsewhere: the seconds of them on each other machine that it was begun on.
        arguments: of the command that did it, as far as they decide its result.
    """
    import torch

    from rewire.engine.library import instruction_set

    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Provenance(
        cpu=cpu_name(),
        threads=torch.get_num_threads(),
        gpu=gpu_name(),
        sparse_engine=instruction_set(),
        versions=versions,
        commit=commit(),
        seconds=None if seconds is None else round(seconds, 2),
        elsewhere={where: round(spent, 2) for where, spent in (elsewhere or {}).items()} or None,
        arguments=None if arguments is None else list(arguments),
    )


def machine() -> str:
    """Accelerator and processor of this process in words."""
    return in_words(gpu_name(), cpu_name())


def gpu_name() -> str | None:
    """Model name of the accelerator; None without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def cpu_name() -> str:
    """Model name of the processor, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """The checked-out commit, with `+` if files differ from it; None outside a checkout.

    A copy of this package that merely lies inside somebody's repository is none of its files.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    """What git says in the folder of this file."""
    done = subprocess.run(
        ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
