"""The options of sweeps, as Hydra's launcher `isolated`: see `rewire.sweep.launcher`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

ENGINES = ("local", "submitit", "print")


@dataclass
class ClusterConfig:
    kind: str = "slurm"  # slurm, or local: submitit's own processes on this machine
    partition: Any = None
    minutes: int = 1440  # time limit of a job, from 3; what has advanced by then is queued again
    cpus: int = 1
    gpus: int = 0
    memory_gb: Any = None
    more: dict[str, Any] = field(default_factory=dict)  # of sbatch: account, qos, ...


@dataclass
class IsolatedConfig:
    # Hydra finds launchers nowhere else; that file hands everything on to `IsolatedLauncher`.
    _target_: str = "hydra_plugins.rewire_launcher.RewireLauncher"
    stage: str = "train"  # whose jobs are launched; every entry point names its own
    jobs: Any = None  # jobs at a time, or auto; if not given 1, and all on a cluster
    engine: str = "local"  # or submitit, or print: one command per cell
    shard: Any = None  # i/n: the i-th of n parts of the sweep
    cluster: ClusterConfig = field(default_factory=ClusterConfig)


ConfigStore.instance().store(group="hydra/launcher", name="isolated", node=IsolatedConfig)
