"""Names from the command line stay in the outputs folder; weights are what their manifest says."""

from __future__ import annotations

import pytest
from helpers.small import composed, run

from rewire.article.document import ARTICLE
from rewire.config.command_line import check_arguments
from rewire.errors import InputError
from rewire.files import write_manifest
from rewire.models.artifact import load_dense, save_dense
from rewire.models.dense import build_dense
from rewire.pipeline.names import LONGEST_SUFFIX, cell_folder, cell_of
from rewire.pipeline.paths import CONF

EVIL = ("../../x", "..", ".", "/x", "a/b", "a\\b", "a b", "a\nb", "$(id)", "`id`", "a;b", "-x", "")
SPEC = {"name": "ann", "width": 0.01, "dropout": "none"}


@pytest.mark.parametrize("name", [*EVIL, "x" * 300, "é", "a\0b"])
def test_no_cell_and_no_profile_leaves_its_folder(name, tmp_path):
    config = composed()
    config.arm = name
    if name in ("..", ".", "-x", ""):  # harmless behind the name of the standard cell
        assert cell_of(config, stage="train").startswith("natural-s0.99-random-seed0")
    else:
        with pytest.raises(InputError, match="the name of the cell is"):
            cell_of(config, stage="train")
    with pytest.raises(InputError, match="the name of the cell is"):
        cell_folder(tmp_path, profile="quick", stage="train", cell=name)
    with pytest.raises(InputError, match="the name of the profile is"):
        cell_folder(tmp_path, profile=name, stage="train", cell="x")


@pytest.mark.parametrize("value", EVIL)
def test_overrides_in_a_name_are_harmless(value, tmp_path):
    overrides = [f"data.root={value}", f"trainer.lr={value}", f"noise.name={value * 40}"]
    name = cell_of(composed(document=ARTICLE), stage="article_noise", overrides=overrides)
    folder = cell_folder(tmp_path, profile="quick", stage="article_noise", cell=name).resolve()
    assert folder.parent == (tmp_path / "quick" / "article_noise").resolve()
    assert len(name) <= len("ann-lq-seed0-") + LONGEST_SUFFIX


@pytest.mark.parametrize("stage", ["train", "prune", "evaluate"])
def test_what_is_changed_of_a_profile_is_in_the_name(stage):
    overrides = ["profile.epochs.natural=1"]
    name = cell_of(composed(), stage=stage, overrides=overrides)
    assert name == "natural-s0.99-random-seed0-profile.epochs.natural=1"


@pytest.mark.parametrize("option", ["arm", "profile.name"])
@pytest.mark.parametrize("value", EVIL[:-1])
def test_evil_names_are_refused_before_the_stage(option, value):
    quoted = "'" + value.replace("\\", "\\\\") + "'"
    assert check_arguments("train", [f"{option}={quoted}"], CONF).found.errors


def test_a_single_run_writes_nothing_for_an_arm_that_climbs(tmp_path):
    result = run("train.py", "arm=../../../evil", f"output={tmp_path / 'a' / 'b'}", "tracking=off")
    assert result.returncode == 2
    assert not list(tmp_path.iterdir())


@pytest.fixture
def finished(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_dense(path, build_dense(**SPEC, seed=0), spec=SPEC)
    write_manifest(tmp_path, config={}, names=[path.name])
    return path


def test_weights_that_the_manifest_lists_are_read(finished):
    assert load_dense(finished, expected=SPEC).matrices()


def test_one_flipped_bit_is_refused(finished):
    content = bytearray(finished.read_bytes())
    for place in (0, 9, len(content) // 2, len(content) - 1):
        damaged = content.copy()
        damaged[place] ^= 1
        finished.write_bytes(damaged)
        with pytest.raises(InputError, match=r"is damaged, or its stage was stopped: its SHA-256"):
            load_dense(finished)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": 3}', '"x"'])
def test_a_damaged_manifest_is_refused(text, finished):
    finished.with_name("manifest.json").write_text(text)
    with pytest.raises(InputError, match="is damaged"):
        load_dense(finished)


def test_weights_without_a_manifest_are_read_unless_they_are_not_finite(finished):
    finished.with_name("manifest.json").unlink()
    model = load_dense(finished)
    model.output.weight.data[0, 0] = float("nan")
    save_dense(finished, model, spec=SPEC)
    with pytest.raises(InputError, match=r"output\.weight is not finite"):
        load_dense(finished)
