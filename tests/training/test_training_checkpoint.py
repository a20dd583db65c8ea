"""Training states are looked at before they are trusted."""

from __future__ import annotations

import zipfile

import torch

from rewire.training.checkpoint import AtomicCheckpoints, is_whole


def test_a_state_that_unpacks_to_more_than_it_holds_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpoints().save_checkpoint({"weights": torch.zeros(1000), "epoch": 3}, path)
    assert is_whole(path)
    with zipfile.ZipFile(path) as archive:
        records = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda self: 1 / 0)  # would unpack it
    assert not is_whole(path)
