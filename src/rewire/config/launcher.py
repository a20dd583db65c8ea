"""The options of sweeps, as Hydra's launcher `isolated`: see `rewire.sweep.launcher`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

ENGINES = ("local", "submitit", "print")


def option(default: Any, text: str) -> Any:
    """A field with its sentence of help."""
    return field(default=default, metadata={"help": text})


@dataclass
class ClusterConfig:
    kind: str = option("slurm", "or local: submitit's own processes on this machine")
    partition: Any = option(None, "Slurm's partition; its standard one if not given")
    minutes: int = option(1440, "time limit of a job, from 3; what has advanced by then goes on")
    cpus: int = option(1, "cores, and threads, of a job")
    gpus: int = option(0, "GPUs of a job")
    memory_gb: Any = option(None, "memory of a job; the partition's standard if not given")
    more: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "of sbatch, each with a +: +hydra.launcher.cluster.more.qos=..."},
    )


@dataclass
class IsolatedConfig:
    # Hydra finds launchers nowhere else; that file hands everything on to `IsolatedLauncher`.
    _target_: str = "hydra_plugins.rewire_launcher.RewireLauncher"
    stage: str = "train"  # whose jobs are launched; every entry point names its own
    jobs: Any = option(None, "jobs at a time; auto: as many as fit. Standard: 1, all on a cluster")
    engine: str = option("local", "local: on this machine; submitit: on Slurm; print: nobody")
    shard: Any = option(None, "2/8: only the 2nd of 8 parts of the sweep")
    cluster: ClusterConfig = field(default_factory=ClusterConfig)


ConfigStore.instance().store(group="hydra/launcher", name="isolated", node=IsolatedConfig)
