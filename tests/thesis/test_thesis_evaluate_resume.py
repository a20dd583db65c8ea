"""An evaluation that is stopped goes on behind its last chunk, to the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.small import OWN, ROOT, list_anew, small

from rewire.attacks.pgd import PGD
from rewire.data.load import load_data
from rewire.errors import InputError
from rewire.evaluation.ledger import load_ledger
from rewire.files import sha256
from rewire.models.artifact import load_network
from rewire.pipeline import cell as common
from rewire.pipeline.document import WEIGHTS
from rewire.thesis import evaluate, prune, train

CELL = "natural-s0.9-l2-seed0"
ATTACKS = {
    "pgd": ("attack.restarts=2",),
    "autoattack": ("attack=autoattack", "attack.queries=3"),
}
MOST, CHUNK = 20, 8  # images attacked, and at a time: 8, 8 and 4


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    output = tmp_path_factory.mktemp("networks")
    for stage in (train, prune):
        stage.run(*small(output, "rewire=l2"))
    return output


@pytest.fixture
def output(networks, tmp_path):
    return shutil.copytree(networks, tmp_path / "outputs")


def run(output, attack, *overrides):
    chosen = [f"attack.images={MOST}", *ATTACKS[attack], *overrides]
    evaluate.run(*small(output, "rewire=l2", *chosen))


def results(output):
    """Hash of every file of the evaluated cell that the pipeline tracks."""
    folder = output / "quick" / "evaluate" / CELL
    return {p.name: sha256(p) for p in folder.iterdir() if p.name != "provenance.json"}


class Killed(BaseException):
    """Stops a stage where a kill would, past every `except Exception`."""


def watch(monkeypatch, *, stop_at=None):
    """The image indices of every chunk attacked; the chunk of this number is cut off."""
    attacked, whole = [], evaluate.evaluate

    def watched(model, images, **options):
        if len(attacked) == stop_at:
            raise Killed
        attacked.append(images.indices.tolist())
        return whole(model, images, **options)

    monkeypatch.setattr(evaluate, "evaluate", watched)
    return attacked


@pytest.mark.parametrize("attack", ATTACKS)
def test_stopped_and_started_again_gives_the_same_bytes(attack, output, monkeypatch):
    monkeypatch.setattr(evaluate, "CHUNK", CHUNK)
    with monkeypatch.context() as patched:
        all_chunks = watch(patched)
        run(output, attack)
    assert [len(chunk) for chunk in all_chunks] == [8, 8, 4] * 2  # trained and pruned
    expected = results(output)
    assert {"metrics.json", "trained.npz", "pruned.npz", "manifest.json"} <= set(expected)
    assert not list((output / "quick").rglob("trained-*.json"))  # the pieces have served

    shutil.rmtree(output / "quick" / "evaluate")
    done = 0
    # In the second chunk, at the beginning of one, in the second network.
    for stop_at in (1, 0, 3):
        with monkeypatch.context() as patched:
            attacked = watch(patched, stop_at=stop_at)
            with pytest.raises(Killed):
                run(output, attack)
        assert attacked == all_chunks[done : done + stop_at]
        done += stop_at
    with monkeypatch.context() as patched:
        attacked = watch(patched)
        run(output, attack)
    assert attacked == all_chunks[done:]
    assert results(output) == expected


@pytest.mark.parametrize(("attack", "sizes"), [("pgd", (1, 7, MOST)), ("autoattack", (7,))])
def test_chunks_change_no_verdict(attack, sizes, output, monkeypatch):
    run(output, attack)
    folder = output / "quick" / "evaluate" / CELL
    whole = results(output)
    for size in sizes:
        monkeypatch.setattr(evaluate, "CHUNK", size)
        run(output, attack, "force=true")
        assert results(output) == whole, size
    metrics = json.loads((folder / "metrics.json").read_text())
    for variant in ("trained", "pruned"):
        ledger = load_ledger(folder / f"{variant}.npz")
        assert len(ledger["indices"]) == MOST
        assert (np.diff(ledger["indices"]) > 0).all()
        assert metrics[variant]["robust"]["correct"] == ledger["robust_correct"].sum()
        fooled = sum(metrics[variant]["fooled_by"].values())
        assert fooled == (ledger["fooled_by"] >= 0).sum()
        types = {name: str(array.dtype) for name, array in ledger.items()}
        assert types == {
            "indices": "int64",
            "labels": "int64",
            "clean_correct": "bool",
            "robust_correct": "bool",
            "fooled_by": "int8",
            "fooled_at_restart": "int16",
        }


def test_up_to_one_chunk_everything_is_what_one_attack_finds(output):
    """1,000 images and fewer are one chunk: steps_run and the batches are those of one attack."""
    assert evaluate.CHUNK == 1000
    run(output, "pgd")
    metrics = json.loads((output / "quick" / "evaluate" / CELL / "metrics.json").read_text())
    config, _ = small(output, "rewire=l2", f"attack.images={MOST}", *ATTACKS["pgd"])
    *_, test = load_data(**{k: v for k, v in config.data.items() if k != "augmentation"})
    attack = PGD(steps=2, restarts=2, epsilon=8 / 255, seed=0)
    model, _ = load_network(output / "quick" / "prune" / CELL / WEIGHTS)
    found = evaluate.evaluate(model, evaluate.subset(test, MOST), attack=attack)
    kept = load_ledger(output / "quick" / "evaluate" / CELL / "pruned.npz")
    for name, array in found.arrays.items():
        np.testing.assert_array_equal(kept[name], array)
    assert metrics["pruned"]["steps_run"] == found.steps_run
    assert metrics["pruned"]["fooled_by"] == found.fooled_by
    assert metrics["pruned"]["robust"]["correct"] == found.robust.correct


def test_chunks_of_other_weights_or_another_attack_are_not_used(output, monkeypatch):
    monkeypatch.setattr(evaluate, "CHUNK", CHUNK)
    for change in ("attack.steps=3", "attack.epsilon=0.02", "attack.images=16"):
        with monkeypatch.context() as patched:
            attacked = watch(patched, stop_at=2)
            with pytest.raises(Killed):
                run(output, "pgd", change)
        assert len(attacked) == 2
    weights = output / "quick" / "train" / CELL / WEIGHTS
    train.run(*small(output, "rewire=l2", "seed=1"))
    shutil.copy(output / "quick" / "train" / "natural-s0.9-l2-seed1" / WEIGHTS, weights)
    list_anew(weights)
    with pytest.raises(
        InputError, match=r"is outdated: it was not made from the train .*thesis prune"
    ):
        run(output, "pgd", "attack.images=16")
    prune.run(*small(output, "rewire=l2"))
    with monkeypatch.context() as patched:
        attacked = watch(patched)
        run(output, "pgd", "attack.images=16")
    assert len(attacked) == 4


def test_force_and_other_code_begin_the_ledger_anew(output, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "CHUNK", CHUNK)

    def attacked(*overrides, stop_at=None):
        with monkeypatch.context() as patched:
            chunks = watch(patched, stop_at=stop_at)
            if stop_at is None:
                run(output, "pgd", *overrides)
            else:
                with pytest.raises(Killed):
                    run(output, "pgd", *overrides)
        return len(chunks)

    assert attacked(stop_at=2) == 2
    real = common.code_of
    monkeypatch.setattr(common, "code_of", lambda name: real(name) | {"attacks/pgd.py": "changed"})
    capsys.readouterr()
    assert attacked(stop_at=3) == 3
    said = capsys.readouterr().out
    assert "pieces of other code (attacks/pgd.py) are not used and stay in " in said
    assert attacked("force=true") == 6
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # the same job, queued again, goes on
    assert attacked("force=true", stop_at=4) == 4
    assert attacked("force=true") == 2


def test_sigkill_of_the_real_stage(output):
    """Killed as soon as the first chunk is kept; the second start goes on from there."""
    small_chunks = (
        "import sys\nfrom pathlib import Path\n"
        "from rewire.thesis import evaluate\nfrom helpers.small import small\n"
        "evaluate.CHUNK = 4\n"
        "evaluate.run(*small(Path(sys.argv[1]), 'rewire=l2', *sys.argv[2:]))\n"
    )
    command = [sys.executable, "-c", small_chunks, str(output), f"attack.images={MOST}"]
    command += ["attack.steps=40"]
    path = os.pathsep.join([OWN["PYTHONPATH"], str(ROOT / "tests")])
    environment = os.environ | OWN | {"PYTHONPATH": path}

    def start():
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    assert start().wait() == 0
    expected = results(output)
    shutil.rmtree(output / "quick" / "evaluate")
    stage, kept = start(), output / "quick" / "checkpoints"
    end = time.monotonic() + 60
    while not list(kept.rglob("trained-*.json")):
        assert time.monotonic() < end
        time.sleep(0.002)
    stage.send_signal(signal.SIGKILL)
    assert stage.wait() == -signal.SIGKILL
    assert list(kept.rglob("trained-*.json"))
    assert start().wait() == 0
    assert results(output) == expected
    assert not list(kept.rglob("*.json"))
