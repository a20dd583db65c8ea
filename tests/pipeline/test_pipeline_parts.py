"""Pieces of a long stage: kept through an interruption, dropped with another configuration."""

from __future__ import annotations

import pytest

from rewire.pipeline.partial_results import drop_parts, kept_folder, parts

VALUES = {"a": [0.1, 1 / 3, 2**-149], "b": {"correct": 7}}


def stage(folder, calls, *, decided, stop_at=None):
    with parts(folder, decided=decided) as part:

        def compute(name):
            if name == stop_at:
                raise KeyboardInterrupt
            calls.append(name)
            return VALUES[name]

        return {name: part(name, lambda name=name: compute(name)) for name in VALUES}


def test_an_interrupted_stage_goes_on_behind_its_last_piece(tmp_path):
    folder, calls = tmp_path / "quick" / "noise" / "cell", []
    with pytest.raises(KeyboardInterrupt):
        stage(folder, calls, decided={"seed": 0}, stop_at="b")
    assert calls == ["a"]
    assert stage(folder, calls, decided={"seed": 0}) == VALUES  # floats exactly
    assert calls == ["a", "b"]
    # They are there until the manifest is written: what comes between may be interrupted too.
    assert stage(folder, calls, decided={"seed": 0}, stop_at="a") == VALUES
    drop_parts(folder)
    assert not list(tmp_path.rglob("*.json"))


def test_a_damaged_piece_is_computed_again(tmp_path):
    folder, calls = tmp_path / "quick" / "noise" / "cell", []
    stage(folder, calls, decided={})
    (damaged,) = kept_folder(folder).rglob("b.json")
    damaged.write_bytes(damaged.read_bytes()[:5])
    assert stage(folder, calls, decided={}) == VALUES
    assert calls == ["a", "b", "b"]


def test_pieces_of_another_configuration_stay_and_that_is_said(tmp_path, capsys):
    folder, calls = tmp_path / "quick" / "noise" / "cell", []
    with pytest.raises(KeyboardInterrupt):
        stage(folder, calls, decided={"seed": 0}, stop_at="b")
    stage(folder, calls, decided={"seed": 1})
    assert calls == ["a", "a", "b"]
    said = capsys.readouterr().out
    assert "pieces of another configuration (seed was 0, is 1) are not used and stay in " in said
    stage(folder, calls, decided={"seed": 0})  # their time has come again
    assert calls == ["a", "a", "b", "b"]
    drop_parts(folder)
    assert not list(tmp_path.rglob("*.json"))


def test_cells_and_stages_do_not_share_pieces(tmp_path):
    calls = []
    for where in ("noise/one", "noise/two", "curves/one"):
        with pytest.raises(KeyboardInterrupt):
            stage(tmp_path / "quick" / where, calls, decided={}, stop_at="b")
    assert calls == ["a", "a", "a"]
