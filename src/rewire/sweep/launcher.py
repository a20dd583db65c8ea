"""A Hydra launcher that runs every job of a sweep in a process of its own.

In one process seeds, determinism flags, tracking runs and thread counts leak from job to job; here
job k is the same command that would run it alone. Finished cells are skipped, a failing job is
recorded and the sweep goes on, and a summary ends it, also when the sweep is stopped by Ctrl+C.

`hydra.launcher.jobs=k` runs k jobs at a time and splits the cores among them, `jobs=auto` as many
as the machine holds; several GPUs are used in turn, several jobs on one GPU share its time (or
compute side by side where the user runs NVIDIA's MPS daemon). The standard is 1, although more at
a time finish a sweep sooner: the number of CPU threads changes the last bits of sums, hence of the
trained weights, and at 1 every job has as many as it would have alone. With `trainer.threads=1`
the result of a training does not depend on it.

`hydra.launcher.engine=submitit` sends the jobs to Slurm instead, each with the resources that
`hydra.launcher.cluster` names; `jobs` is then how many of them may run there at a time, all if it
is not given. `engine=print` prints one command per cell and runs nothing. `shard=2/8` takes the
second eighth of the cells, whoever runs them. docs/clusters.md tells more.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rewire.config.launcher import ENGINES, ClusterConfig
from rewire.errors import InputError, unknown_name
from rewire.files import MANIFEST
from rewire.identity import decisive
from rewire.pipeline.commands import list_failures, print_commands, words_of
from rewire.pipeline.documents import document_of
from rewire.pipeline.names import cell_of, own_folder
from rewire.pipeline.partial_results import kept_folder

if TYPE_CHECKING:
    from rewire.sweep.summary import Summary


class IsolatedLauncher:
    """See the module's docstring.

    Exit codes: 0 all done, 1 a job failed, 2 a value that cannot be used, 128 + n stopped by
    signal n.
    """

    def __init__(
        self,
        stage: str,
        jobs: Any = None,
        engine: str = "local",
        shard: Any = None,
        cluster: DictConfig | None = None,
    ) -> None:
        self.stage, self.engine, self.shard = stage, engine, shard
        self.jobs: Any = (1 if engine == "local" else "auto") if jobs is None else jobs
        chosen = OmegaConf.structured(cluster or ClusterConfig)
        self.cluster = cast(dict[str, Any], OmegaConf.to_container(chosen))

    def setup(self, *, hydra_context, task_function, config: DictConfig) -> None:
        from rewire.pipeline.console import stop
        from rewire.sweep.composed import ComposedOnce
        from rewire.sweep.shards import check_shard
        from rewire.sweep.slots import check_jobs
        from rewire.sweep.slurm import check_cluster

        hydra_context.config_loader = ComposedOnce(hydra_context.config_loader)
        self.config, self.loader = config, hydra_context.config_loader
        try:
            check_jobs(self.jobs)
            check_shard(self.shard)
            if self.engine not in ENGINES:
                raise unknown_name("hydra.launcher.engine", self.engine, ENGINES)
            if self.engine == "submitit":
                check_cluster(self.cluster)
        except InputError as error:
            stop(error)  # before Hydra writes its record of the sweep

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from rewire.config.read import read_numbers
        from rewire.pipeline.console import stop
        from rewire.sweep.local import Job
        from rewire.sweep.shards import part

        configs = [self.loader.load_sweep_config(self.config, list(o)) for o in job_overrides]
        for config in configs:
            read_numbers(config, document_of(self.stage).name)
        overrides = [list(filter_overrides(o)) for o in job_overrides]
        rows = self._plan(configs, overrides)
        rows, configs, overrides = part(self.shard, rows, configs, overrides)
        self._skip_finished(rows, configs)
        chosen = [row for row in rows if "status" not in row]
        if self.engine == "print":
            sys.exit(print_commands(self.stage, rows))
        runner, at_a_time = self._runner(rows, configs, count=max(1, len(chosen)))
        started = time.perf_counter()
        jobs = [
            Job(
                row["label"],
                self._command(row["overrides"]),
                row["log"],
                kept_folder(Path(row["folder"])),
            )
            for row in chosen
        ]
        try:
            results = runner.run(jobs)
        except InputError as error:  # the cluster refuses them
            stop(error)
        for row, result in zip(chosen, results, strict=True):
            row |= result
        summary = self._summarise(rows, at_a_time=at_a_time, seconds=time.perf_counter() - started)
        failures = list_failures(self.stage, rows, engine=self._engine())
        written = self._written(summary)
        print(summary.last_line)
        sys.stdout.flush()
        if runner.stopped is not None:
            sys.exit(128 + runner.stopped)
        if failures or not written:
            sys.exit(1)
        return [
            JobReturn(overrides=own, cfg=config, status=JobStatus.COMPLETED)
            for config, own in zip(configs, overrides, strict=True)
        ]

    def _plan(
        self, configs: Sequence[DictConfig], overrides: Sequence[list[str]]
    ) -> list[dict[str, Any]]:
        """A row per job; one that cannot run has its `status` already.

        Two jobs never share a folder: the second one is a duplicate, or its settings differ in
        something that is not in the name.
        """
        rows: list[dict[str, Any]] = []
        owners: dict[Path, tuple[int, Any]] = {}
        for number, (config, own) in enumerate(zip(configs, overrides, strict=True), start=1):
            label = f"[{number}/{len(configs)}]"
            try:
                cell = cell_of(config, stage=self.stage, overrides=own)
                settings = self._settings(config)
            except (InputError, OmegaConfBaseException) as error:
                failed = {"cell": " ".join(own), "status": "failed", "error": str(error)}
                rows.append(failed | {"overrides": own})
                continue
            folder = own_folder(config, stage=self.stage, overrides=own)
            log = folder.parents[1] / "logs" / self.stage / f"{cell}.log"
            row: dict[str, Any] = {"cell": cell, "folder": str(folder), "log": log}
            row["overrides"] = own
            row["label"] = f"{label} {cell}"
            checkpoint = kept_folder(folder) / "last.ckpt"
            row["resumed"] = checkpoint.is_file()
            owner, same = owners.setdefault(folder, (number, settings))
            if owner != number and same == settings:
                row |= {"status": "duplicate", "error": f"the same as job {owner}"}
            elif owner != number:
                text = f"its name is that of job {owner}, its settings are not; name one by arm="
                row |= {"status": "failed", "error": text}
            rows.append(row)
        return rows

    def _skip_finished(self, rows: Sequence[dict[str, Any]], configs: Sequence[DictConfig]) -> None:
        """Mark cells whose result is there, so that no process starts only to say so."""
        for row, config in zip(rows, configs, strict=True):
            if "status" in row or config.force:
                continue
            if not (Path(row["folder"]) / MANIFEST).is_file():
                continue
            # Not above: it imports torch.
            from rewire.pipeline.cell import Cell
            from rewire.pipeline.made import made

            own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
            try:
                plain = cast(dict[str, Any], OmegaConf.to_container(own, resolve=True))
            except OmegaConfBaseException:
                continue  # the job says what is wrong
            cell: Cell = Cell(self.stage, plain, tuple(row["overrides"]))
            result = made(Path(row["folder"]))
            if result is None or result.changes(cell.deciding()):
                continue
            # A stage that reads more than that is not found finished here: it is started and looks.
            if not result.other_inputs(cell.read()):
                row |= {"status": "skipped", "error": None}
                by = f", made by {code}" if (code := result.other_code()) else ""
                where = sys.stderr if self.engine == "print" else sys.stdout
                line = f"{row['label']}: finished already: {row['folder']}{by}"
                print(line, file=where, flush=True)

    def _runner(
        self, rows: Sequence[dict[str, Any]], configs: Sequence[DictConfig], *, count: int
    ) -> tuple[Any, int]:
        """What runs `count` jobs, and how many of them at a time."""
        from rewire.sweep.hardware import this_machine
        from rewire.sweep.local import Jobs
        from rewire.sweep.slots import describe, pack
        from rewire.sweep.slurm import ClusterJobs

        if self.engine == "submitit":
            at_a_time = count if self.jobs == "auto" else min(self.jobs, count)
            print(f"{len(rows)} jobs, {at_a_time} at a time, by submitit", flush=True)
            folder = Path(self.config.output) / self.config.profile.name / "logs" / "submitit"
            return ClusterJobs(self.cluster, at_a_time=at_a_time, folder=folder), at_a_time
        use_gpu = any(OmegaConf.select(c, "trainer.device") != "cpu" for c in configs)
        machine = this_machine(use_gpu=use_gpu and self.jobs != 1)
        slots = pack(self.jobs, count=count, machine=machine, threads=threads_of(configs))
        print(f"{len(rows)} jobs, {describe(slots, machine.gpus)}", flush=True)
        return Jobs(slots), len(slots)

    def _settings(self, config: DictConfig) -> dict[str, Any]:
        """What decides a job's result."""
        groups = document_of(self.stage).stages[self.stage].groups
        values = {key: config.get(key) for key in (*groups, "sparsity", "seed")}
        return decisive(
            {
                key: OmegaConf.to_container(value, resolve=True)
                if OmegaConf.is_config(value)
                else value
                for key, value in values.items()
            }
        )

    def _command(self, overrides: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "rewire", *words_of(self.stage), *overrides]

    def _engine(self) -> list[str]:
        """What was said of the engine, for commands that are to use it again."""
        if self.engine == "local":
            return []
        asked = self.config.hydra.overrides.hydra
        own = ("hydra.launcher.engine", "hydra.launcher.cluster")
        return [override for override in asked if override.lstrip("+").startswith(own)]

    def _written(self, summary: Summary) -> bool:
        """Write the summary's files, after everything else was said; whether that worked."""
        try:
            print(f"wrote {summary.write()[0]}")
        except OSError as error:
            said = f"cannot write this summary to '{self.config.output}': {error.strerror}"
            print(f"error: {said}", file=sys.stderr)
            return False
        return True

    def _summarise(self, rows: list[dict[str, Any]], *, at_a_time: int, seconds: float) -> Summary:
        from rewire.sweep.summary import summarise

        profile = self.config.profile.name
        base = Path(self.config.output) / profile / "sweeps"
        return summarise(
            rows,
            stage=self.stage,
            profile=profile,
            base=base,
            at_a_time=at_a_time,
            seconds=seconds,
            shard=self.shard,
        )


def threads_of(configs: Iterable[DictConfig]) -> int:
    """The CPU threads that a job is told to use (`trainer.threads`), 1 if it is not told."""
    told = [OmegaConf.select(config, "trainer.threads") for config in configs]
    return max((n for n in told if isinstance(n, int) and n >= 1), default=1)
