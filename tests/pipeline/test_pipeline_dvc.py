"""dvc.yaml against params.yaml, conf/ and what the stages write."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rewire.pipeline.document import NOISES, SELECTIONS
from rewire.pipeline.documents import module_of
from rewire.sources import file_of

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
CELL_STAGES = ("train", "prune", "evaluate", "structure")
# Stage of the article → the list of cells in params.yaml that it runs.
ARTICLE_STAGES = {
    "article_train": "cells",
    "article_noise": "cells",
    "article_curves": "pruned",
    "article_adaptive": "pruned",
    "article_transfer": "transfer",
    "article_decoupled": "decoupled",
}


def dvc(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=cwd, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """`dvc stage list` in a copy that shares nothing with this checkout."""
    copy = tmp_path_factory.mktemp("pipeline")
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, copy)
    assert dvc("init", "--no-scm", "-q", cwd=copy).returncode == 0
    result = dvc("stage", "list", "--name-only", cwd=copy)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_dvc_sees_every_cell_of_every_stage(listed):
    axes = PARAMS["thesis"]
    cells = {
        f"{cell}-{rewire}-{seed}"
        for cell in axes["cells"]
        for rewire in axes["rewire"]
        for seed in axes["seeds"]
    }
    article = {
        f"{stage}@{cell}-{seed}"
        for stage, listing in ARTICLE_STAGES.items()
        for cell in PARAMS["article"][listing]
        for seed in PARAMS["article"]["seeds"]
    }
    thesis = {f"{s}@{cell}" for s in CELL_STAGES for cell in cells}
    audited = {
        f"audit@{cell}"
        for cell in cells
        if cell.startswith(tuple(f"{c}-" for c in axes["audited"]))
    }
    assert audited
    surrogates = {f"surrogates@{cell}-{seed}" for cell in axes["audited"] for seed in axes["seeds"]}
    assert set(listed) == thesis | audited | surrogates | article | {"tables", "report"}


def test_audits_read_another_network_through_the_list_of_those_that_there_are():
    """A list of strategies without any that is transferred from is a pipeline, too."""
    axes = PARAMS["thesis"]
    assert set(axes["audited"]) <= set(axes["cells"])
    read = [d for d in PIPELINE["audit"]["deps"] if d.startswith("outputs/${profile}/")]
    own = "${item.cell}-${item.rewire}-seed${item.seed}"
    assert [d for d in read if own not in d] == [
        "outputs/${profile}/surrogates/${item.cell}-seed${item.seed}/surrogates.json"
    ]
    assert PIPELINE["surrogates"]["outs"] == [d for d in read if own not in d]
    assert "outputs/${profile}/train" in PIPELINE["surrogates"]["deps"]
    assert "thesis.rewire" in PIPELINE["surrogates"]["params"]


def test_lists_of_the_second_document_fit_together():
    article = PARAMS["article"]
    experiments = {path.stem for path in (ROOT / "conf" / "article" / "experiment").glob("*.yaml")}
    assert set(article["cells"]) <= experiments
    for listing in ("pruned", "transfer", "decoupled"):
        assert set(article[listing]) <= set(article["cells"])
    # The transfer stage reads the noise of all three heads.
    assert {f"ann-{head}" for head in ("lq", "rq", "sce")} <= set(article["cells"])


def test_axis_values_are_safe_in_a_shell_and_in_hydra():
    for axes in (PARAMS["thesis"], PARAMS["article"]):
        for value in (value for values in axes.values() for value in values):
            assert re.fullmatch(r"[A-Za-z0-9_.-]+", str(value))


def test_every_override_is_quoted_and_every_dependency_exists():
    for name, stage in PIPELINE.items():
        commands = stage["cmd"] if isinstance(stage["cmd"], list) else [stage["cmd"]]
        for override in re.findall(r"\S*\$\{\S*", " ".join(commands)):
            assert override.startswith("'"), (name, override)
            assert override.endswith("'"), (name, override)
        for dependency in stage["deps"]:
            if "${" not in dependency and not dependency.startswith("outputs/"):
                assert (ROOT / dependency).exists(), (name, dependency)


@pytest.mark.parametrize("stage", [*CELL_STAGES, "audit", *ARTICLE_STAGES])
def test_outs_are_the_files_that_the_stage_vouches_for(stage):
    source = file_of(module_of(stage)).read_text()
    names = {Path(out).name for out in PIPELINE[stage]["outs"]}
    assert {"manifest.json", "config.yaml", "metrics.json"} <= names
    assert "provenance.json" not in names  # it differs from run to run
    for name in names - {"manifest.json", "config.yaml"}:
        stem, suffix = name.split(".")
        named = name in source or f'"{stem}"' in source or f".{suffix}" in source
        selected = name in SELECTIONS.values() and "SELECTIONS[" in source
        selected |= name in NOISES.values() and "NOISES[" in source
        # METRICS, HISTORY, WEIGHTS: constants that all stages share.
        assert named or selected or stem.upper() in source, (stage, name)
    others = {Path(out).parts[:3] for out in PIPELINE[stage]["outs"]}
    assert others == {("outputs", "${profile}", stage)}


def test_an_export_without_git_runs_the_pipeline(tmp_path):
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", tmp_path / ".dvc")
    make = ["make", "-s", "scm", f"VENV={sys.prefix}"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    result = dvc("stage", "list", "--name-only", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "tables" in result.stdout.split()
