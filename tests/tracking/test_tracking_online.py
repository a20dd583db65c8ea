"""What the tracker asks of an online run, told by a run that only takes notes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import wandb

from rewire.tracking.wandb_run import WandbTracker, safe_name


class NotingRun:
    """The part of `wandb.Run` that the tracker uses; `known` are the artifacts of the server."""

    offline = False
    url = "https://wandb.example/rewire/runs/1"

    def __init__(self, folder, *, known=()):
        self.settings = SimpleNamespace(sync_dir=str(folder))
        self.known = known
        self.used, self.logged = [], []

    def use_artifact(self, name):
        if name not in self.known:
            raise wandb.errors.CommError(f"artifact {name} not found")
        self.used.append(name)

    def log_artifact(self, artifact, *, aliases):
        self.logged.append((artifact.name, artifact.metadata, aliases))

    def log(self, row):
        raise wandb.errors.CommError("no connection")

    def finish(self, *, exit_code):
        raise wandb.errors.CommError(f"no connection at exit {exit_code}")


def start(folder, **options):
    run = NotingRun(folder, **options)
    return run, WandbTracker(run, card={"name": "a", "group": "g", "job_type": "attack"})


def test_inputs_become_used_artifacts(tmp_path):
    run, tracker = start(tmp_path, known=["weights-a-b:latest"])
    tracker.artifact("ledger", type="result", files=[], metadata={"n": 1}, inputs=["weights-a/b"])
    assert run.used == ["weights-a-b:latest"]
    assert run.logged == [("ledger", {"n": 1, "inputs": ["weights-a/b"]}, ["latest"])]


def test_an_input_that_the_server_lacks_is_a_warning(tmp_path):
    run, tracker = start(tmp_path)
    with pytest.warns(UserWarning, match="no lineage to artifact 'weights'"):
        tracker.artifact("ledger", type="result", files=[], metadata={}, inputs=["weights"])
    assert [name for name, _, _ in run.logged] == ["ledger"]


def test_url_is_the_address(tmp_path):
    run, tracker = start(tmp_path)
    assert tracker.url_or_folder() == run.url


def test_online_errors_are_errors(tmp_path):
    _, tracker = start(tmp_path)
    with pytest.raises(wandb.Error, match="no connection"):
        tracker.log({"loss": 1.0}, step=0)
    with pytest.raises(wandb.Error, match="at exit 0"):
        tracker.finish(failed=False)


def test_a_failing_end_does_not_hide_the_error_of_the_block(tmp_path):
    _, tracker = start(tmp_path)
    with pytest.warns(UserWarning, match="at exit 1"):
        tracker.finish(failed=True)


def test_names_keep_only_allowed_characters():
    assert safe_name("weights a/b:0.99 é") == "weights-a-b-0.99-"
    assert len(safe_name("x" * 500)) == 100
