"""8/255 is read as people write it, wherever a number is wanted."""

from __future__ import annotations

import pytest
import yaml
from helpers.small import SMALL, composed, run

from rewire.article.document import ARTICLE
from rewire.config.command_line import check_arguments
from rewire.config.read import read_numbers
from rewire.files import read_json
from rewire.pipeline.commands import words_of
from rewire.pipeline.names import cell_of
from rewire.pipeline.paths import CONF
from rewire.thesis.document import THESIS

EPSILON = 8 / 255


def checked(*arguments: str, stage: str = "evaluate"):
    return check_arguments(stage, list(arguments), CONF)


@pytest.mark.parametrize("text", ["8/255", "'8/255'", '"8 / 255"', "8 / 255", "8.0/255"])
def test_however_it_is_quoted(text):
    found = checked(f"attack.epsilon={text}", "objective=trades", f"objective.epsilon={text}")
    assert (found.found.errors, found.found.warnings) == ([], [])
    assert found.config.attack.epsilon == found.config.objective.epsilon == EPSILON


def test_in_every_place_of_a_configuration_that_holds_numbers():
    thesis = checked(
        "objective=trades", "objective.step_size=2/255", "sparsity=99/100", "trainer.lr=1/10",
        "attack.step_size='${objective.step_size}'", "model.p_init_first=[3/5,0.2]",
    )  # fmt: skip
    assert thesis.found.errors == []
    assert thesis.config.attack.step_size == thesis.config.objective.step_size == 2 / 255
    assert (thesis.config.sparsity, thesis.config.trainer.lr) == (0.99, 0.1)
    assert thesis.config.model.p_init_first == [0.6, 0.2]
    assert cell_of(thesis.config, stage="evaluate") == "trades-s0.99-random-seed0"
    article = checked(
        "noise.pairs=[[3,1/4]]", "trainer.phases=[[1/1000,10]]",
        "++curves.points.list.half.absolute=1/2", stage="article_curves",
    )  # fmt: skip
    assert article.found.errors == []
    assert article.config.noise.pairs == [[3, 0.25]]
    assert article.config.trainer.phases == [[0.001, 10]]
    assert article.config.curves.points.list.half.absolute == 0.5


@pytest.mark.parametrize("document", [THESIS, ARTICLE])
def test_files_may_write_it_too_and_reading_twice_changes_nothing(document):
    config = composed(document=document)
    read_numbers(config, document.name)
    once = config.copy()
    read_numbers(config, document.name)
    assert config == once
    if document is THESIS:
        for name in ("pgd50x10", "pgd20x1", "autoattack"):
            text = (CONF / "thesis" / "attack" / f"{name}.yaml").read_text()
            assert yaml.safe_load(text)["epsilon"] == "8/255"
        assert config.attack.epsilon == EPSILON


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("attack.epsilon=8/0", "attack.epsilon is '8/0'. Allowed: a number above 0"),
        ("attack.epsilon=800/255", "attack.epsilon is 3.13"),
        ("attack.epsilon=8/255/2", "attack.epsilon is '8/255/2'"),
        ("attack.steps=100/2", "attack.steps is '100/2'. Allowed: a whole number"),
        # In 1/255 already.
        ("audit.epsilons=[8/255]", "audit.epsilons is ['8/255']"),
    ],
)
def test_what_is_no_such_number_is_refused(argument, words):
    (error,) = checked(argument).found.errors
    assert words in error


def test_a_wrong_one_behind_the_first_of_a_sweep_is_refused():
    assert checked("-m", "attack.epsilon=4/255,8/255").found.errors == []
    (error,) = checked("-m", "attack.epsilon=4/255,800/255").found.errors
    assert "attack.epsilon is 3.13" in error


def test_cells_have_names_that_people_read():
    for text in ("8/255", "'8/255'", '"8 / 255"'):
        name = cell_of(composed(), stage="evaluate", overrides=[f"attack.epsilon={text}"])
        assert name == "natural-s0.99-random-seed0-attack.epsilon=8_255"


def test_a_sweep_over_it_runs_and_records_numbers(tmp_path):
    output = tmp_path / "out"
    arguments = ["sparsity=0.9", *SMALL, f"output={output}"]
    for stage in ("train", "prune"):
        done = run("-m", "rewire", *words_of(stage), *arguments)
        assert done.returncode == 0, done.stderr
    swept = ["-m", "rewire", "thesis", "evaluate", "-m", *arguments, "attack.epsilon=4/255,8/255"]
    done = run(*swept)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = list((output / "quick" / "evaluate").iterdir())
    configured = [yaml.safe_load((cell / "config.yaml").read_text()) for cell in cells]
    assert {config["attack"]["epsilon"] for config in configured} == {4 / 255, EPSILON}
    recorded = {read_json(cell / "metrics.json")["attack"]["epsilon"] for cell in cells}
    assert recorded == {4 / 255, EPSILON}
    again = run(*swept)
    assert again.stdout.count("finished already") == 2  # found by the launcher itself
