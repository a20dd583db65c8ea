"""Grids as configured, and what the pruning stages refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.article_oracle import ANN, CELL, PAIRS, copied, small
from helpers.small import typed_of
from safetensors.torch import save_file

from rewire.article import adaptive as article_adaptive
from rewire.article import curves as article_curves
from rewire.article import noise as article_noise
from rewire.article import train as article_train
from rewire.article.curve_settings import grid, points_of
from rewire.article.document import ARTICLE
from rewire.attacks.universal_files import save_noise
from rewire.errors import InputError


@pytest.fixture(scope="module")
def noised(tmp_path_factory) -> Path:
    """A trained thin ANN and its noise."""
    output = tmp_path_factory.mktemp("outputs")
    for stage in (article_train, article_noise):
        stage.run(*small(output, *ANN))
    return output


def test_grids_are_exact_and_thin_out_to_what_is_kept():
    ann, article, cnn = (
        typed_of(f"network={name}", "profile=paper", document=ARTICLE).curves
        for name in ("ann", "ann_article", "cnn")
    )
    assert grid(ann, "whole") == [place / 100 for place in range(99)]
    assert article.list == ann.list
    assert [repr(ratio) for ratio in grid(ann, "whole")[28:31]] == ["0.28", "0.29", "0.3"]
    fc1, fc2 = ([0.0, *(n / 1000 for n in range(start, 999, 2))] for start in (900, 700))
    assert grid(cnn, "fc1") == fc1
    assert grid(cnn, "fc2") == fc2
    assert (len(fc1), len(fc2)) == (51, 151)
    ann = ann.model_copy(update={"step_factor": 10})
    tens = [place / 10 for place in range(10)]
    assert grid(ann, "whole") == sorted([*tens, 0.81, 0.85, 0.96, 0.98])
    for curves in (ann, cnn):
        for pruning in points_of(curves).values():
            for metric, ratio in pruning.items():
                assert metric in ("absolute", "activated")
                values = [ratio] if isinstance(ratio, float) else ratio.values()
                assert all(0 <= value <= 1 for value in values)


@pytest.mark.parametrize(
    ("stage", "override", "message"),
    [
        (
            article_curves,
            "curves.list.activated_2000.count=2000",
            "2000 images for the metric of 300",
        ),
        (
            article_curves,
            "curves.common.count=0",
            "curves.common.count is 0. Allowed: a whole number from 1",
        ),
        (article_curves, "+curves.points.list.layers.absolute.dense7=0.5", "'dense7'"),
        (
            article_curves,
            "curves.list.absolute_dense2.matrices=[dense9]",
            "matrix to prune 'dense9'",
        ),
        (article_curves, "curves.images=91", "whole numbers 1..90"),
        (article_curves, "noise.pairs=[[3,0.25]]", "is of other pairs"),
        (article_adaptive, "curves.adaptive=[absolut]", "Did you mean 'absolute'"),
    ],
)
def test_what_is_refused(noised, tmp_path, stage, override, message):
    output = copied(noised, tmp_path)
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        stage.run(*small(output, *ANN, override))
    name = f"article_{stage.__name__.rpartition('.')[2]}"
    assert not (output / "quick" / name / CELL / "manifest.json").exists()


def test_missing_and_foreign_noise_is_refused(noised, tmp_path):
    output = copied(noised, tmp_path)
    path = output / "quick" / "article_noise" / CELL / "noise_G1.safetensors"
    path.unlink()
    with pytest.raises(InputError, match="missing noise"):
        article_curves.run(*small(output, *ANN))
    made = json.dumps({"pairs": PAIRS, "variant": "G1"})
    save_file({"noise": torch.zeros(2, 700)}, path, metadata={"made": made})
    with pytest.raises(InputError, match=r"of shape \(2, 700\)"):
        article_curves.run(*small(output, *ANN))
    save_noise(path, torch.zeros(2, 784), pairs=PAIRS, variant="G1")
    with pytest.raises(InputError, match="of another model"):
        article_curves.run(*small(output, *ANN, "network.width=0.06"))
