"""The overview that `make dashboard` prints."""

from __future__ import annotations

import json
import sys

import pytest

from rewire.tracking import dashboard, track


def add_run(folder, *, name, group, job_type, state, time="000000", **more):
    run = folder / f"offline-run-20260101_{time}-{name}"
    run.mkdir(parents=True)
    card = {"name": name, "group": group, "job_type": job_type, "state": state} | more
    (run / "run.json").write_text(json.dumps(card))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "wandb"
    for number in range(3):
        add_run(folder, name=f"a{number}", group="trades", job_type="train", state="finished")
    add_run(folder, name="b", group="trades", job_type="train", state="failed")
    add_run(folder, name="c", group="natural", job_type="attack", state="finished")
    return folder


def test_counts_per_group_job_type_and_state(folder, capsys):
    dashboard.main([str(folder)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert lines[0][:2] == ["5", "runs"]
    assert lines[1] == ["group", "job", "type", "failed", "finished"]
    assert lines[3] == ["natural", "attack", "0", "1"]
    assert lines[4] == ["trades", "train", "1", "3"]
    assert lines[5][-3:] == ["wandb", "leet", str(folder)]


def test_terminal_gets_the_wandb_dashboard(folder, monkeypatch):
    started = []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(dashboard.os, "execv", lambda path, command: started.append(command))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    dashboard.main([str(folder)])
    assert started == [[sys.executable, "-m", "wandb", "leet", str(folder)]]


def test_it_opens_on_the_last_run_that_has_curves_not_on_tables(folder, capsys):
    for name, time, curves in (("old", "1", True), ("new", "2", True), ("tables", "3", False)):
        add_run(
            folder, name=name, group="g", job_type="j", state="finished",
            time=f"00000{time}", curves=curves,
        )  # fmt: skip
    dashboard.main([str(folder)])
    shown = capsys.readouterr().out.splitlines()[-1].split()[-1]
    assert shown == str(folder / "offline-run-20260101_000002-new")


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "a"}'])
def test_a_damaged_card_is_named_and_hides_no_other(folder, content, capsys):
    add_run(folder, name="z", group="g", job_type="j", state="finished", curves=True)
    damaged = folder / "offline-run-20260101_000000-z" / "run.json"
    damaged.write_text(content)
    dashboard.main([str(folder)])
    shown = capsys.readouterr()
    assert shown.out.startswith("5 runs in ")
    assert f"'{damaged}'" in shown.err
    assert {line.partition(":")[0] for line in shown.err.splitlines()} == {"passed over"}
    assert shown.err.count("passed over") == 1


@pytest.mark.parametrize("exists", [True, False])
def test_no_runs_is_one_clear_error(exists, tmp_path, capsys):
    folder = tmp_path / "wandb"
    if exists:
        folder.mkdir()
    with pytest.raises(SystemExit) as stopped:
        dashboard.main([str(folder)])
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"error: no tracked runs in '{folder}'")


def test_it_finds_the_runs_that_track_wrote(tmp_path):
    for name in ("elsewhere", "wandb"):
        with track(
            "offline",
            project="p",
            group="g",
            job_type="attack",
            name="cell",
            tags=[],
            config={},
            folder=tmp_path / name / name,
        ):
            (running,) = dashboard.find_runs(tmp_path / name / name).values()
            assert running["state"] == "running"
        (run,) = dashboard.find_runs(tmp_path / name / name).values()
        expected = {"name": "cell-attack", "group": "g", "job_type": "attack", "state": "finished"}
        assert run == expected | {"curves": False}
