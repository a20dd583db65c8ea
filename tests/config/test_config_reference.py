"""Help, reference and schemas say what the options declare, and nothing else does."""

from __future__ import annotations

import json

import pytest
from helpers.small import ROOT, composed, run

from rewire.article.document import ARTICLE
from rewire.config import reference
from rewire.config.completion import completions
from rewire.config.reference import help_of, json_schema, options, page
from rewire.pipeline.documents import DOCUMENTS
from rewire.pipeline.schema import schema_of
from rewire.thesis.document import THESIS


def test_the_reference_is_what_the_options_declare():
    assert (ROOT / reference.PAGE).read_text(encoding="utf-8") == page()
    for document in DOCUMENTS:
        file = ROOT / reference.SCHEMAS / f"{document.name}.json"
        assert file.read_text(encoding="utf-8") == json_schema(document.name)


@pytest.mark.parametrize("document", [THESIS, ARTICLE], ids=["thesis", "article"])
def test_every_option_has_a_row_with_a_sentence(document):
    (chapter,) = [c for c in page().split("## rewire ") if c.startswith(document.name)]
    rows = [line for line in chapter.splitlines() if line.startswith("| `")]
    for option in options(schema_of(document.name)):
        (row,) = [row for row in rows if row.startswith(f"| `{option.path}` |")]
        assert option.help, option.path
        assert option.help.replace("|", "\\|") in row


def test_a_stage_shows_the_groups_that_it_takes_with_the_values_that_they_have():
    text = help_of("prune", composed("rewire=l2", "objective=trades", "trainer.lr=0.3"))
    for words in (
        "trainer.lr=0.3",
        "rewire.ties=random",
        "objective.epsilon=8/255",
        "prune.layers",
    ):
        assert words in text
    assert "which of several equally near entries (random, first, same_vector)" in " ".join(
        text.split()
    )
    for group in ("attack.", "audit.", "rewire.gamma"):
        assert group not in text
    assert "hydra.launcher.cluster.minutes=1440" in text
    assert text.splitlines()[:2] == ["rewire thesis prune [option=value ...]", ""]
    assert "noise.lr=3.0" in help_of("article_noise", composed(document=ARTICLE))


@pytest.mark.parametrize(("columns", "width"), [(80, 80), (120, 100), (20, 60)])
def test_help_is_as_wide_as_the_terminal_within_limits(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = help_of("train", composed("rewire=l2")).splitlines()
    one_word = [line for line in lines if len(line) > width and len(line.split()) > 1]
    assert not one_word
    assert max(len(line) for line in lines if "=" not in line) > width - 12


def test_help_needs_no_pytorch_and_shows_mistakes_instead():
    code = "import sys; from rewire.cli import main; main({!r}); print('torch' in sys.modules)"
    done = run("-c", code.format(["thesis", "train", "--help", "rewire=vector"]))
    assert done.returncode == 0, done.stderr
    assert "rewire.gamma=2.0" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
    done = run("-m", "rewire", "thesis", "train", "--help", "rewire=vectr")
    assert done.returncode == 2
    assert "Did you mean 'vector'" in done.stderr


def test_schemas_are_what_editors_check_our_files_with():
    schema = json.loads(json_schema("thesis"))
    number = schema["$defs"]["Trainer"]["properties"]["lr"]
    kinds = [kind.get("type") for kind in number["anyOf"]]
    assert kinds == ["number", "string", "string"]  # 0.1, 1/10, ${...}
    assert number["anyOf"][0]["exclusiveMinimum"] == 0
    assert number["anyOf"][0]["description"].startswith("learning rate")


REWIRE = [f"rewire{option}=" for option in ("", ".crowding", ".gamma", ".metric", ".name", ".ties")]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["tr"], []),
        (["the"], ["thesis"]),
        (["opt"], ["options"]),
        (["thesis", "ev"], ["evaluate"]),
        (["article", "cu"], ["curves"]),
        (["thesis", "train", "rewire.g"], ["rewire.gamma="]),
        (
            ["thesis", "train", "rewire"],
            REWIRE,
        ),
        (["thesis", "train", "rewire=l2,ve"], ["rewire=l2,vector"]),
        (["thesis", "train", "seed=1", "trainer.engine=s"], ["trainer.engine=sparse"]),
        (["thesis", "train", "trainer.lr="], []),
        (["nothing", "x"], []),
    ],
)
def test_shells_complete_commands_stages_options_and_choices(typed, expected):
    assert completions(typed, ["options", "check"]) == sorted(expected)
