"""A Slurm of one node that belongs to the tests: own daemons, key, ports and folder; nothing else.

Nothing of the machine is touched: `SLURM_CONF` names the configuration, and munge, which proves who
asks, runs with a key and a socket of its own. It works for root and for any other user, without
systemd, control groups or accounting.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = (
    "slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel", "srun", "setpriv",
)  # fmt: skip
PATIENCE = 60.0  # seconds for the node to report
CPUS = 2  # as Slurm counts them, whatever the machine has
MOST = 4  # MaxArraySize
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
# A queued-again job waits as long as its credential lived, by default two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
MaxArraySize={most}
MinJobAge=60
KillWait=3
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes={host} MaxTime=60 PriorityTier=10 PreemptMode=OFF State=UP
"""


def missing() -> list[str]:
    """Programs without which no Slurm can be started here."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def one_node() -> Iterator[dict[str, str]]:
    """A running Slurm; gives the environment by which its commands find it.

    Raises:
        RuntimeError: if it cannot be started, with what its logs say last.
    """
    folder = Path(tempfile.mkdtemp(prefix="rewire-slurm-"))
    folder.chmod(0o755)  # munge wants its socket reachable
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    configuration = folder / "slurm.conf"
    values = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser()}
    values |= {"folder": folder, "ports": free_ports(2), "cpus": CPUS, "most": MOST}
    configuration.write_text(CONFIGURATION.format(**values), encoding="utf-8")
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\nIgnoreSystemd=yes\n", encoding="utf-8")
    env = os.environ | {"SLURM_CONF": str(configuration)}
    env["PATH"] = os.pathsep.join([env.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munged += [
        f"--{kind}={folder}/munge.{name}"
        for kind, name in (
            ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"),
        )
    ]  # fmt: skip
    daemons: list[subprocess.Popen] = []
    try:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D"]):
            # They do not outlive the tests, even if these are killed.
            bound = ["setpriv", "--pdeathsig", "TERM", *command]
            # Their output would keep a pipe of the caller open.
            with open(folder / f"{command[0]}.out", "wb") as out:
                daemons.append(
                    subprocess.Popen(
                        bound, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
                    )
                )
            time.sleep(0.5)
        wait_for_the_node(env, daemons, folder)
        yield env
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run(["scancel", "-u", values["user"]], env=env, timeout=10)
            time.sleep(1)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_the_node(env: dict[str, str], daemons: list[subprocess.Popen], folder: Path) -> None:
    """Return when the node takes jobs; raises `RuntimeError` if it does not come to that."""
    ask = ["sinfo", "--noheader", "--format=%T"]
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and all(daemon.poll() is None for daemon in daemons):
        answer = subprocess.run(ask, env=env, capture_output=True, text=True)
        if "idle" in answer.stdout:
            return
        time.sleep(0.5)
    logs = [*folder.glob("*.out"), *folder.glob("*.log")]
    said = [f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()[-3:]]
    raise RuntimeError("no Slurm could be started here: " + " | ".join(said))
