"""Offline runs, read back by W&B's own log inspector as the independent oracle."""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import random
import re
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rewire
from rewire.errors import InputError
from rewire.tracking import NullTracker, Tracker, track

SOURCE = str(Path(rewire.__file__).parents[1])
RUN = {
    "project": "rewire",
    "group": "natural-s0.99",
    "job_type": "train",
    "name": "natural-s0.99-l2-seed0",
    "tags": ["quick", "seed0"],
    "config": {"sparsity": 0.99, "attack": {"epsilon": 0.03, "steps": [10, 50]}, "root": Path("x")},
}


def inspect(folder: str | Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def records(folder: str | Path) -> list[dict]:
    return [json.loads(line) for line in inspect(folder).splitlines()]


def of_kind(log: list[dict], kind: str) -> list[dict]:
    return [record[kind] for record in log if record["type"] == kind]


def wandb_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.startswith("WANDB_")}


def write(tracker: Tracker, folder: Path) -> None:
    tracker.log({"train/loss": torch.tensor(2.5), "train/lr": 0.1}, step=10)
    tracker.log({"train/loss": float("nan"), "train/lr": float("inf")}, step=20)
    tracker.log({"epoch/epoch": 1, "epoch/turnover": 0.5}, step=20)
    tracker.log({"validation/accuracy": 61.0, "epoch": 1}, step=20)
    tracker.log({"attack/success": 12.0}, step=3)
    tracker.summary({"robust": {"pgd": {"accuracy": np.float32(41.5)}, "gap": -float("inf")}})
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[1, 2] = (255, 0, 7)
    tracker.image("figures/array", picture, step=20)
    Image.fromarray(picture).save(folder / "figure.png")
    tracker.image("figures/file", folder / "figure.png")
    tracker.table("layers", ["name", "density"], [["conv1", 0.5], [7, float("nan")], [None, "x"]])
    (folder / "weights.bin").write_bytes(b"theta" * 1000)
    tracker.artifact(
        "weights-a/b",
        type="model",
        files=[folder / "weights.bin"],
        metadata={"accuracy": float("nan"), "seed": 0},
        inputs=["weights-dense"],
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("tracked")


@pytest.fixture(scope="module")
def run_folder(home):
    with track("offline", **RUN, folder=home / "wandb") as tracker:
        write(tracker, home)
        return Path(tracker.url_or_folder())


@pytest.fixture(scope="module")
def log(run_folder):
    return records(run_folder)


def test_run_record_holds_identity_and_config(log, run_folder, home):
    (run,) = of_kind(log, "run")
    assert run["project"] == "rewire"
    assert run["run_group"] == "natural-s0.99"
    assert run["job_type"] == "train"
    assert run["tags"] == ["quick", "seed0"]
    assert run["display_name"] == "natural-s0.99-l2-seed0-train"
    # Lists show its beginning only: four letters of its own, then what differs in the group.
    assert re.fullmatch("[2-9a-z]{4}-l2-seed0-train-natural-s0.99", run["run_id"])
    config = run["config"]["update"]
    assert config["attack"] == {"epsilon": 0.03, "steps": [10, 50]}
    assert (config["sparsity"], config["root"]) == (0.99, "x")
    assert run_folder.parent == home / "wandb"
    assert of_kind(log, "exit") == [{"exit_code": 0}]


def test_history_keeps_every_row_also_with_repeated_or_falling_steps(log):
    rows = [row["item"] for row in of_kind(log, "history")]
    seen = [{k: v for k, v in row.items() if k[0] != "_"} for row in rows[:5]]
    assert seen == [
        {"train/loss": 2.5, "train/lr": 0.1, "step": 10},
        {"train/loss": "NaN", "train/lr": "Infinity", "step": 20},
        {"epoch/epoch": 1, "epoch/turnover": 0.5, "step": 20},
        {"validation/accuracy": 61, "epoch": 1, "step": 20},
        {"attack/success": 12, "step": 3},
    ]


def test_curves_have_their_x_axis(log):
    axes = {
        metric["glob_name"]: metric["step_metric"]
        for metric in of_kind(log, "metric")
        if "glob_name" in metric
    }
    assert axes == {
        "train/*": "step",
        "epoch/*": "epoch/epoch",
        "validation/*": "epoch",
        "attack/*": "step",
    }


def test_summary_is_flat_and_survives_infinity(log):
    updates = [update["update"] for update in of_kind(log, "summary")]
    assert {"robust/pgd/accuracy": 41.5, "robust/gap": "-Infinity"} in updates


def test_images_are_stored_pixel_for_pixel(log, run_folder):
    rows = [row["item"] for row in of_kind(log, "history")]
    for name in ("figures/array", "figures/file"):
        (stored,) = [row[f"{name}.path"] for row in rows if f"{name}.path" in row]
        pixels = np.asarray(Image.open(run_folder / "files" / stored).convert("RGB"))
        assert pixels.shape == (4, 6, 3)
        assert pixels[1, 2].tolist() == [255, 0, 7]
        assert pixels.sum() == 262


def test_table_keeps_mixed_cells(log, run_folder):
    (stored,) = (run_folder / "files" / "media" / "table").glob("layers_*.table.json")
    assert json.loads(stored.read_text()) == {
        "columns": ["name", "density"],
        "data": [["conv1", 0.5], [7, "NaN"], [None, "x"]],
    }


def test_artifact_records_hash_and_inputs_without_a_copy(log, home):
    (artifact,) = [a for a in of_kind(log, "artifact") if a["type"] == "model"]
    assert artifact["name"] == "weights-a-b"
    assert artifact["aliases"] == ["latest"]
    assert json.loads(artifact["metadata"]) == {
        "accuracy": "NaN",
        "seed": 0,
        "inputs": ["weights-dense"],
    }
    (entry,) = artifact["manifest"]["contents"]
    data = (home / "weights.bin").read_bytes()
    assert b64decode(entry["digest"]) == hashlib.md5(data).digest()
    assert entry["local_path"] == str(home / "weights.bin")
    copies = [p for p in (home / "wandb").rglob("*") if p.is_file() and p.stat().st_size == 5000]
    assert copies == []


def test_error_in_the_block_marks_the_run_and_propagates(tmp_path):
    def diverge() -> None:
        with track("offline", **RUN, folder=tmp_path / "wandb") as tracker:
            tracker.log({"train/loss": 1.0}, step=1)
            raise ZeroDivisionError("diverged")

    with pytest.raises(ZeroDivisionError, match="diverged"):
        diverge()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    summary = json.loads(inspect(folder, "--summary"))
    assert summary["exit_code"] == 1
    assert summary["summary"]["train/loss"] == 1
    assert json.loads((folder / "run.json").read_text())["state"] == "failed"


def test_two_runs_in_one_process_do_not_mix(tmp_path):
    folders = []
    for name in ("first", "second"):
        changed = RUN | {"name": name, "group": name, "config": {name: 1}}
        with track("offline", **changed, folder=tmp_path / name) as tracker:
            tracker.log({f"{name}/value": 1.0}, step=0)
            folders.append(Path(tracker.url_or_folder()))
    for name, other, folder in zip(("first", "second"), ("second", "first"), folders, strict=True):
        assert folder.parent == tmp_path / name / "wandb"
        (run,) = of_kind(records(folder), "run")
        assert run["run_group"] == name
        assert run["config"]["update"][name] == 1
        assert other not in run["config"]["update"]


def test_the_same_cell_twice_gives_two_runs(tmp_path):
    folders = []
    for _ in range(2):
        with track("offline", **RUN, folder=tmp_path) as tracker:
            folders.append(tracker.url_or_folder())
    assert folders[0] != folders[1]


def test_unfinished_work_goes_on_in_its_own_run(tmp_path):
    kept = tmp_path / "checkpoints" / "run.json"
    folders = []

    def piece(stopped: bool) -> str:
        with track("offline", **RUN, folder=tmp_path / "wandb", unfinished=kept) as tracker:
            tracker.log({"train/loss": 1.0}, step=len(folders))
            folders.append(Path(tracker.url_or_folder()))
            if stopped:  # as by SIGKILL: nothing more is written
                tracker._write_card = lambda **changes: None
        return of_kind(records(folders[-1]), "run")[0]["run_id"]

    first, second = piece(stopped=True), piece(stopped=False)
    assert first == second
    cards = [json.loads((folder / "run.json").read_text()) for folder in dict.fromkeys(folders)]
    assert [card["state"] for card in cards][-1] == "finished"
    assert all(card["state"] != "running" and card["curves"] for card in cards)
    kept.unlink()  # finished: the next time it is another run
    assert piece(stopped=False) != first


def test_environment_and_global_randomness_stay_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "false")
    monkeypatch.setenv("WANDB_SERVICE", "another process's, and gone")
    before, state, torch_state = wandb_environment(), random.getstate(), torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    with track("offline", **RUN, folder=tmp_path) as tracker:
        assert os.environ["WANDB_DATA_DIR"].startswith(str(tmp_path))
        write(tracker, tmp_path)
        assert Path(tracker.url_or_folder()).is_dir()
    assert wandb_environment() == before
    assert random.getstate() == state
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_start_leaves_collection_and_imports_alone(tmp_path):
    with track("offline", **RUN, folder=tmp_path):
        assert gc.isenabled()
        assert sys.modules.get("wandb.sdk.launch", sys) is not None
        launch = importlib.import_module("wandb.sdk.launch")
    assert callable(launch.launch_add)


def test_a_dead_service_costs_the_record_only(tmp_path):
    """In a process of its own, whose service is killed in the middle of a run."""
    code = f"""
import os, re, signal, time, warnings
from rewire.tracking import NullTracker, track
run = dict(project="p", group="g", job_type="train", tags=[], config={{}}, folder={str(tmp_path)!r})
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    with track("offline", name="a", **run) as tracker:
        service = int(re.search(r"wandb-\\d+-(\\d+)-", os.environ["WANDB_SERVICE"])[1])
        os.kill(service, signal.SIGKILL)
        os.waitpid(service, 0)
        time.sleep(0.2)
        for step in range(3):
            tracker.log({{"train/loss": 1.0}}, step=step)
    with track("offline", name="b", **run) as tracker:
        assert isinstance(tracker, NullTracker)
texts = " ".join(str(warning.message) for warning in seen)
assert "lost part" in texts and "not tracked" in texts, texts
print("trained")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": SOURCE},
    )
    assert done.stdout == "trained\n", done.stderr
    assert done.returncode == 0


def test_unwritable_folder_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot write"),
        track("offline", **RUN, folder=tmp_path / "file" / "wandb"),
    ):
        pass


def test_missing_wandb_is_a_warning_offline(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with (
        pytest.warns(UserWarning, match="not tracked"),
        track("offline", **RUN, folder=tmp_path) as tracker,
    ):
        assert isinstance(tracker, NullTracker)
