"""A Hydra launcher that runs every job of a sweep in a process of its own.

In one process seeds, determinism flags, tracking runs and thread counts leak from job to job; here
job k is the same command that would run it alone. Finished cells are skipped, a failing job is
recorded and the sweep goes on, and a summary ends it. (Hydra finds launchers only in the namespace
package `hydra_plugins`.)
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from rewire.errors import InputError
from rewire.stages.cells import cell_folder, cell_of


@dataclass
class IsolatedConfig:
    _target_: str = "hydra_plugins.rewire_launcher.IsolatedLauncher"
    stage: str = "train"  # whose jobs are launched; every entry point names its own
    jobs: int = 1  # jobs at a time; the cores are shared among them


# Hydra executes this file anew when it looks for plugins, so an entry point cannot register a stage
# of its own here: it says `hydra.launcher.stage` on the command line.
ConfigStore.instance().store(group="hydra/launcher", name="isolated", node=IsolatedConfig)


class IsolatedLauncher(Launcher):
    """See the module's docstring; `hydra.launcher.jobs` runs several jobs at a time."""

    def __init__(self, stage: str, jobs: int) -> None:
        self.stage, self.jobs = stage, jobs

    def setup(self, *, hydra_context, task_function, config: DictConfig) -> None:
        self.config, self.loader = config, hydra_context.config_loader

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        if self.jobs < 1:
            sys.exit(f"error: hydra.launcher.jobs is {self.jobs}. Allowed: 1 or more.")
        jobs = []
        for overrides in job_overrides:
            config = self.loader.load_sweep_config(self.config, list(overrides))
            jobs.append((config, list(filter_overrides(overrides))))
        print(f"{len(jobs)} jobs, {self.jobs} at a time")
        with ThreadPoolExecutor(self.jobs) as pool:
            numbered = enumerate(jobs, start=1)
            rows = list(pool.map(lambda job: self._run(job[0], len(jobs), *job[1]), numbered))
        failures = [row for row in rows if row["status"] == "failed"]
        self._summarise(rows, [overrides for _, overrides in jobs])
        for row, (_, overrides) in zip(rows, jobs, strict=True):
            if row["status"] == "failed":
                print(f"failed: {row['cell']}: {row['error']}\n  retry: {self._shell(overrides)}")
        if failures:
            sys.stdout.flush()
            sys.exit(1)
        return [
            JobReturn(overrides=overrides, cfg=config, status=JobStatus.COMPLETED)
            for config, overrides in jobs
        ]

    def _command(self, overrides: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", f"rewire.stages.{self.stage}", *overrides]

    def _shell(self, overrides: Sequence[str]) -> str:
        return shlex.join(["python", "-m", f"rewire.stages.{self.stage}", *overrides])

    def _run(self, number: int, total: int, config: DictConfig, overrides: list[str]) -> dict:
        """Run one job to its end; its lines are shown and kept in a log file."""
        try:
            cell = cell_of(config, stage=self.stage, overrides=overrides)
            folder = cell_folder(
                config.output, profile=config.profile.name, stage=self.stage, cell=cell
            )
            log = folder.parents[1] / "logs" / self.stage / f"{cell}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
        except (InputError, OSError) as error:
            return {"cell": " ".join(overrides), "status": "failed", "error": str(error)}
        label = f"[{number}/{total}] {cell}"
        print(f"{label}: started", flush=True)
        started = time.perf_counter()
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        if self.jobs > 1:
            environment["OMP_NUM_THREADS"] = str(threads)
        lines: list[str] = []
        with (
            open(log, "w", encoding="utf-8") as file,
            subprocess.Popen(
                self._command(overrides),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            ) as process,
        ):
            for line in process.stdout:
                file.write(line)
                lines.append(line.rstrip())
                print(f"{label}: {line.rstrip()}", flush=True)
        row = {"cell": cell, "status": "done", "error": None, "folder": str(folder)}
        if process.returncode:
            row |= {"status": "failed", "error": last_words(lines, process.returncode)}
        elif any(line.startswith("finished already") for line in lines):
            row["status"] = "skipped"
        row["seconds"] = round(time.perf_counter() - started, 1)
        return row

    def _summarise(self, rows: list[dict[str, Any]], overrides: list[list[str]]) -> None:
        from rewire.stages.sweep import summarise

        profile = self.config.profile.name
        base = Path(self.config.output) / profile / "sweeps"
        summarise(rows, overrides, stage=self.stage, profile=profile, base=base)


def last_words(lines: list[str], code: int) -> str:
    """What a failed job said last: its error line if it has one."""
    said = [line for line in lines if line.strip()]
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    return (errors or said or [f"exit code {code}"])[-1]
