"""One Slurm for all tests marked `slurm`; where it cannot be started they are skipped, with why."""

from __future__ import annotations

import os
import sys

import pytest
from helpers.one_node import missing, one_node


@pytest.fixture(scope="session")
def cluster():
    """The environment of commands that are to find the Slurm of the tests."""
    if lacking := missing():
        pytest.skip(f"not installed: {', '.join(lacking)} (Debian's packages: slurm-wlm, munge)")
    with one_node() as env:
        yield env


@pytest.fixture
def slurm_env(cluster, monkeypatch):
    """This process and all that it starts find the Slurm of the tests, and this project."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster[name])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return cluster
