"""The article's configuration: every file composes, names are what they say."""

from __future__ import annotations

import json

import pytest
from helpers.small import composed, run

from rewire.article.document import ARTICLE
from rewire.data import mnist
from rewire.models.dense import DENSE_MODELS
from rewire.pipeline.commands import words_of
from rewire.pipeline.documents import document_of
from rewire.pipeline.names import cell_of
from rewire.pipeline.paths import CONF
from rewire.registry import HEADS

FOLDER = CONF / "article"


@pytest.mark.parametrize(
    ("group", "registry"),
    [("network", DENSE_MODELS), ("head", HEADS), ("data", mnist.SOURCES), ("curves", DENSE_MODELS)],
)
def test_every_registered_name_has_a_file_and_back(group, registry):
    assert sorted(path.stem for path in (FOLDER / group).glob("*.yaml")) == sorted(registry)


@pytest.mark.parametrize("experiment", [p.stem for p in (FOLDER / "experiment").glob("*.yaml")])
def test_experiments_are_named_like_their_cells_and_bring_their_curves(experiment):
    text = (FOLDER / "experiment" / f"{experiment}.yaml").read_text()
    assert f"# rewire article train experiment={experiment}" in text
    config = composed(f"experiment={experiment}", "seed=3", document=ARTICLE)
    assert cell_of(config, stage="article_train") == f"{experiment}-seed3"
    assert config.curves.name == config.network.name


def test_paper_profile_is_the_article():
    config = composed("profile=paper", document=ARTICLE)
    assert config.trainer.phases == [[1e-5, 100_000]]
    assert config.trainer.batch_size == 250
    assert config.head == {"name": "lq", "scale": "as_coded", "l2": 1e-4}
    assert config.network == {"name": "ann", "width": 1.0, "dropout": "none"}
    assert (config.data.validation_size, config.data.train_size) == (5000, None)
    assert (config.noise.steps, config.noise.batch_size, config.noise.lr) == (5000, 250, 0.1)
    pairs = [tuple(pair) for pair in config.noise.pairs]
    table = [(3, 0.25), (2, 0.25), (1, 0.15), (5, 0.1), (5, 0.35), (8, 0.2), (7, 0.3), (9, 0.2)]
    assert set(pairs) == {*table, (5, 0.15)}


def test_names_of_cells():
    config = composed("network=cnn", "head=rq", document=ARTICLE)
    assert cell_of(config, stage="article_train") == "cnn-rq-seed0"
    dropout = ["network.dropout=unit"]
    name = cell_of(config, stage="article_curves", overrides=dropout)
    assert name == "cnn-rq-seed0-network.dropout=unit"
    assert cell_of(config, stage="article_train", overrides=["curves.draws=2"]) == "cnn-rq-seed0"
    assert document_of("article_curves") is ARTICLE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["network=ann1"], ["'ann1'", "Did you mean 'ann'"]),
        (["head=lqq"], ["'lqq'", "Did you mean 'lq'"]),
        (["tracking=of"], ["'of'", "off, offline, online"]),
        (["experiment=ann-mse"], ["'ann-mse'", "ann-lq"]),
        (["trainer.phases=[[1e-3,0]]"], ["trainer.phases is [[0.001, 0]]"]),
        (["head=sce", "head.scale=sum"], ["'head.scale=sum'", "'sce'"]),
        (["data=folder"], ["MNIST/raw", "REWIRE_DATA"]),
    ],
)
def test_bad_values_are_one_line_and_exit_code_2(arguments, words, tmp_path):
    result = run(
        "-m", "rewire", "article", "train", *arguments, f"output={tmp_path}", "tracking=off",
        env={"REWIRE_DATA": str(tmp_path / "nowhere")},
    )  # fmt: skip
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_sweep_runs_jobs_of_its_own_stage_and_document(tmp_path):
    tiny = ("network.width=0.02", "data.train_size=100", "data.test_size=20")
    arguments = [*tiny, "trainer.phases=[[1e-3,5]]", "tracking=off", f"output={tmp_path}"]
    for stage in ("article_train", "article_transfer"):
        module = ["-m", "rewire", *words_of(stage), "-m", "head=lq,rq"]
        result = run(*module, *arguments)
        (summary,) = (tmp_path / "quick" / "sweeps").glob(f"{stage}-*.json")
        rows = [row for row in json.loads(summary.read_text()) if row["status"] != "total"]
        assert len(rows) == 2
        if stage == "article_train":
            assert result.returncode == 0
            assert [row["status"] for row in rows] == ["done", "done"]
            columns = {"cell", "status", "accuracy %", "seconds", "images/s"}
            assert all(set(row) == columns for row in rows)
        else:  # its noise was never made
            assert result.returncode == 1
            assert result.stdout.count("retry: rewire article transfer") == 2
            assert all("no noise of head 'sce'" in row["error"] for row in rows)
