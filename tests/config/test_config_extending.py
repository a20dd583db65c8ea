"""docs/extending.md: its files, as they stand there, are found, run, and swept over."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml
from helpers.small import ROOT, SMALL, run

from rewire.config.command_line import check_arguments
from rewire.files import MANIFEST, read_json
from rewire.pipeline.paths import CONF

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
KINDS = ("strategy", "objective", "attack", "pruning method", "model", "data set", "loss")
OTHERS = ("trainer.epochs", "attack.steps", "model.width", "data.train_size")
SETTINGS = [setting for setting in SMALL if not setting.startswith(OTHERS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    for name, text in BLOCKS:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    random = np.random.default_rng(0)
    for split, count in (("train", 90), ("test", 40)):
        labels = np.arange(count) % 10
        images = random.integers(0, 100, (count, 3, 32, 32), dtype=np.uint8)
        images[np.arange(count), :, 3 * labels] = 255
        np.savez(folder / f"shapes_{split}.npz", images=images, labels=labels)
    return folder


@pytest.fixture
def extended(folder, monkeypatch):
    monkeypatch.setenv("REWIRE_EXTENSIONS", str(folder))
    return folder


def errors(stage, *arguments):
    return check_arguments(stage, list(arguments), CONF).found.errors


def test_two_files_for_each():
    files = [name for name, _ in BLOCKS]
    assert len(files) == 2 * len(KINDS)
    assert sum(name.endswith(".py") for name in files) == len(KINDS)


def test_one_of_each_is_trained_attacked_and_swept_over(extended, tmp_path):
    mine = {"REWIRE_EXTENSIONS": str(extended)}
    given = [
        *(*SETTINGS, f"output={tmp_path}", "sparsity=0.9", "data=shapes", f"data.root={extended}"),
        *("objective=smooth", "model=small", "model.filters=6"),
    ]

    def rewire(*arguments):
        done = run("-m", "rewire", *arguments, env=mine)
        assert done.returncode == 0, done.stdout + done.stderr

    rewire("thesis", "train", "-m", *given, "rewire=even,random")
    even, random = (f"smooth-s0.9-{name}-seed0" for name in ("even", "random"))
    found = {path.name[: path.name.index("-seed0") + 6]: path for path in cells(tmp_path, "train")}
    assert set(found) == {even, random}
    record = read_json(found[even] / MANIFEST)
    for name in ("even", "smooth", "small", "shapes"):
        assert f"extensions/{name}.py" in record["code"]
    assert not any(
        other in name for name in record["code"] for other in ("fgsm", "hinge", "weakest")
    )
    config = yaml.safe_load((found[even] / "config.yaml").read_text())
    assert config["rewire"] == {"name": "even", "sharpness": 1.0}
    assert config["trainer"]["epochs"] == 1  # the profile's standard number
    pruning = ["prune=weakest", "prune.share=0.25", "prune.finetune.epochs=1"]
    rewire("thesis", "prune", *given, "rewire=even", *pruning)
    (pruned,) = cells(tmp_path, "prune")
    removed = read_json(pruned / "metrics.json")
    assert removed["removed_total"] == pytest.approx(0.25 * removed["connected_before"], abs=3)
    assert "extensions/weakest.py" in read_json(pruned / MANIFEST)["code"]
    rewire("thesis", "evaluate", *given, "rewire=even", *pruning, "attack=fgsm")
    (evaluated,) = cells(tmp_path, "evaluate")
    metrics = read_json(evaluated / "metrics.json")["trained"]
    assert set(metrics["fooled_by"]) <= {"other"}
    small = ["network.width=0.02", "data.train_size=100", "data.validation_size=20"]
    small += ["data.test_size=20", "trainer.phases=[[1e-3,4]]", "trainer.batch_size=50"]
    rewire("article", "train", *small, "tracking=off", f"output={tmp_path}", "head=hinge")
    (trained,) = cells(tmp_path, "article_train")
    assert trained.name.startswith("ann-hinge-seed0")


def cells(output, stage):
    return sorted(path.parent for path in (output / "quick" / stage).glob(f"*/{MANIFEST}"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rewire=evn"], ["unknown rewiring strategy 'evn'", "'even'"]),
        (["rewire=even", "rewire.sharpness=-1"], ["rewire.sharpness is -1", "a number from 0"]),
        (["rewire=random", "rewire.sharpness=1"], ["'random' has no rewire.sharpness"]),
        (["rewire=even", "rewire.sharpnes=1"], ["Did you mean 'rewire.sharpness'"]),
        (["objective=smooth", "objective.smoothing=2"], ["objective.smoothing is 2", "at most 1"]),
        (["prune=weakst"], ["unknown pruning method 'weakst'", "'weakest'"]),
        (["prune=weakest", "prune.share=2"], ["prune.share is 2", "at most 1"]),
        (["prune=lonely", "prune.share=0.1"], ["'lonely' has no prune.share"]),
        (["attack=fgsm", "attack.epsilon=300/255"], ["attack.epsilon is 1.17"]),
        (["attack=fgsm", "attack.restarts=3"], ["unknown option 'attack.restarts'"]),
        (
            ["model=small", "model.filters=0"],
            ["model.filters is 0", "model/small.yaml"],
        ),
        (["data=shapes", "data.dataset=shape"], ["data.dataset is 'shape'", "cifar10, shapes"]),
    ],
)
def test_mistakes_in_them_are_told_like_all_others(extended, arguments, words):
    (line,) = errors("train", *arguments)
    assert all(word in line for word in words), line


@pytest.mark.parametrize("profile", ["quick", "cpu", "paper", "structure"])
@pytest.mark.parametrize(
    "choice", ["rewire=even", "objective=smooth", "attack=fgsm", "prune=weakest", "model=small"]
)
def test_each_works_in_every_profile(extended, profile, choice):
    assert errors("train", f"profile={profile}", choice) == []


def test_without_the_folder_they_are_unknown(extended, monkeypatch):
    assert errors("train", "rewire=even") == []
    monkeypatch.setenv("REWIRE_EXTENSIONS", str(extended / "nowhere"))
    done = run("-m", "rewire", "thesis", "train", "rewire=even")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "REWIRE_EXTENSIONS is" in line
    assert "Allowed: a folder that is there" in line
    monkeypatch.delenv("REWIRE_EXTENSIONS")
    (line,) = errors("train", "rewire=even")
    assert "unknown rewiring strategy 'even'" in line
