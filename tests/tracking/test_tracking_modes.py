"""Modes, their errors, and what they must not import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.small import composed

import rewire
from rewire.errors import InputError
from rewire.tracking import NullTracker, track
from rewire.tracking.tracker import flatten, plain

RUN = {"project": "p", "group": "g", "job_type": "train", "name": "n", "tags": [], "config": {}}
CONF = Path(__file__).parents[2] / "conf" / "shared" / "tracking"


@pytest.mark.parametrize("mode", ["off", False])
def test_off_does_nothing(mode, tmp_path):
    with track(mode, **RUN, folder=tmp_path / "wandb") as tracker:
        assert isinstance(tracker, NullTracker)
        tracker.log({"train/loss": 1.0}, step=0)
        tracker.summary({"a": {"b": 1}})
        tracker.image("x", "missing.png")
        tracker.table("t", ["a"], [[1]])
        tracker.artifact("w", type="model", files=[], metadata={})
        assert tracker.url_or_folder() == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "mode", "tracked"),
    [
        ("disabled", "offline", "NullTracker"),
        ("disabled", "online", "NullTracker"),
        ("offline", "online", "WandbTracker"),
        ("dryrun", "online", "WandbTracker"),
        ("online", "off", "NullTracker"),
    ],
)
def test_wandb_s_own_variable_decides_how_but_not_against_off(
    variable, mode, tracked, tmp_path, monkeypatch
):
    monkeypatch.setenv("WANDB_MODE", variable)
    with track(mode, **RUN, folder=tmp_path / "wandb") as tracker:
        assert type(tracker).__name__ == tracked
    assert (tmp_path / "wandb").exists() == (tracked == "WandbTracker")
    assert os.environ["WANDB_MODE"] == variable


def test_a_wandb_mode_that_w_and_b_does_not_have_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with (
        pytest.raises(InputError, match=r"unknown WANDB_MODE 'ofline'. Did you mean 'offline'"),
        track("offline", **RUN, folder=tmp_path / "wandb"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_runs_lie_below_the_output_folder():
    for mode in ("off", "offline", "online"):
        config = composed(f"tracking={mode}", "output=some/where")
        assert config.tracking.folder == "some/where/wandb"


def test_off_imports_no_wandb(tmp_path):
    code = (
        "import sys\nfrom rewire.tracking import track\n"
        "with track('off', project='', group='', job_type='', name='', tags=[], config={},"
        f" folder={str(tmp_path)!r}): pass\n"
        "print(sorted({'wandb', 'numpy', 'torch', 'PIL'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(rewire.__file__).parents[1])}
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert shown == "[]\n"


def test_unknown_mode_names_the_nearest(tmp_path):
    with (
        pytest.raises(InputError, match=r"'ofline'.*Did you mean 'offline'") as caught,
        track("ofline", **RUN, folder=tmp_path),
    ):
        pass
    assert "Allowed: off, offline, online" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "expected"), [(None, "wandb login"), ("tooshort", "WANDB_API_KEY invalid")]
)
def test_online_without_a_usable_key_says_what_to_do(key, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    before = dict(os.environ)
    with (
        pytest.raises(InputError, match=expected) as caught,
        track("online", **RUN, folder=tmp_path / "wandb"),
    ):
        pass
    assert "tracking=offline" in str(caught.value)
    assert dict(os.environ) == before


def test_online_without_wandb_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match="wandb"), track("online", **RUN, folder=tmp_path):
        pass


@pytest.mark.parametrize("mode", ["off", "offline", "online"])
def test_every_config_names_its_mode(mode):
    config = yaml.safe_load((CONF / f"{mode}.yaml").read_text())
    place = {"project": "rewire", "folder": "${output}/wandb"}
    assert config == {"mode": mode, **place, "system_metrics": False}


def test_flatten_joins_keys_and_keeps_order():
    nested = {"a": {"b": 1, "c": {"d": 2, "e": {}}}, "f": [3]}
    assert list(flatten(nested).items()) == [("a/b", 1), ("a/c/d", 2), ("f", [3])]


def test_plain_spells_what_json_cannot_hold():
    value = {1: (Path("a/b"), None, True), "x": [float("nan"), float("inf"), -float("inf"), 2.5]}
    assert plain(value) == {
        "1": ["a/b", None, True],
        "x": ["NaN", "Infinity", "-Infinity", 2.5],
    }
