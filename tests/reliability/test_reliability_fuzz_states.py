"""Damaged training states: told from whole ones, and never read as anything else."""

from __future__ import annotations

import torch
from reliability.test_reliability_fuzz import check_reader, examples

from rewire.errors import InputError
from rewire.training.checkpoint import AtomicCheckpoints, is_whole


@examples(60)
def test_damaged_training_states(count, tmp_path):
    path, files = tmp_path / "last.ckpt", AtomicCheckpoints()
    theta = torch.arange(50.0)
    files.save_checkpoint({"epoch": 3, "callbacks": {"History": {"rows": []}}, "t": theta}, path)

    def read(path):
        if not is_whole(path):
            raise InputError(f"'{path}' is damaged")
        state = files.load_checkpoint(path)
        assert torch.equal(state["t"], theta)
        assert state["epoch"] == 3

    check_reader(path, read, count)
