"""Inside a Slurm job a training is what it is elsewhere; Lightning's own Slurm habits are off."""

from __future__ import annotations

import shutil
import signal

import pytest
from training.test_training_runner import assert_equal, changed, run

from rewire.training.module import SparseClassifier


@pytest.fixture(params=[("1", "0"), ("2", "1")], ids=lambda p: "task {1} of {0}".format(*p))
def job(request, monkeypatch, tmp_path):
    """The environment of a task of a Slurm job, in a working folder of its own."""
    tasks, number = request.param
    values = {"NTASKS": tasks, "PROCID": number, "LOCALID": number, "NODEID": "0"}
    values |= {"JOB_ID": "17", "JOB_NAME": "rewire", "NNODES": "1", "NODELIST": "node1"}
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_another_trainings_state_in_the_working_folder_is_never_loaded(job, tmp_path):
    run(changed(seed=1), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "last.ckpt", job / "hpc_ckpt_1.ckpt")
    lines = []
    found = run(changed(), tmp_path / "found", report=lines.append)
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    (job / "hpc_ckpt_1.ckpt").unlink()
    assert_equal(found, run(changed(), tmp_path / "alone"))


def test_a_signal_of_slurm_requeues_nothing_and_leaves_no_file(job, tmp_path, monkeypatch):
    step, handlers = SparseClassifier.training_step, set()

    def looking(self, batch, batch_index):
        handlers.update(signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGUSR2))
        return step(self, batch, batch_index)

    monkeypatch.setattr(SparseClassifier, "training_step", looking)
    run(changed(), tmp_path / "parts")
    assert handlers == {signal.SIG_DFL}
    assert list(job.iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        "config.json",
        "last.ckpt",
    ]
