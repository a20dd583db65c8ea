"""The code that dvc.yaml sees is the code that Python imports, in both directions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.small import OWN, ROOT

from rewire.pipeline.documents import DOCUMENTS, module_of
from rewire.pipeline.dvc_yaml import AS_A_WHOLE, TABLES
from rewire.sources import PACKAGE, closure, file_of, imported, is_apart

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
ALL_STAGES = [stage for document in DOCUMENTS for stage in document.stages]


def files_seen(stage: str) -> tuple[set[Path], list[Path]]:
    """(Python files, folders) of the code on which a stage of dvc.yaml depends."""
    entry = STAGES["tables" if stage in TABLES else stage]
    paths = [ROOT / path for path in entry["deps"] if path.startswith("src/")]
    folders = [path for path in paths if path.is_dir()]
    inside = (file for folder in folders for file in folder.rglob("*.py"))
    return {*(path for path in paths if path.is_file()), *inside}, folders


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_a_stage_depends_on_the_code_that_it_imports_and_on_no_other(stage):
    names = TABLES if stage in TABLES else (stage,)
    imported = {path for name in names for path in closure(module_of(name))}
    seen, folders = files_seen(stage)
    assert imported <= seen
    for path in seen - imported:
        assert path.relative_to(PACKAGE).parts[0] in AS_A_WHOLE, path
    for folder in folders:
        assert any(path.is_relative_to(folder) for path in imported), folder


def test_tables_and_figures_never_retrain():
    for stage in ("train", "article_train", "prune", "evaluate"):
        seen, _ = files_seen(stage)
        assert PACKAGE / "rng.py" in seen
        assert not [path for path in seen if {"reporting", "figures.py"} & set(path.parts)]


def test_python_imports_nothing_that_is_not_seen():
    """What a process has imported against what dvc.yaml lists, but for modules apart."""
    code = (
        "import sys, rewire.thesis.audit\n"
        "print(*(name for name in sys.modules if name.partition('.')[0] == 'rewire'))"
    )
    run = [sys.executable, "-c", code]
    said = subprocess.run(
        run, capture_output=True, text=True, env=os.environ | OWN, check=True
    ).stdout.split()
    seen, _ = files_seen("audit")
    assert len(said) > 40
    apart = [name for name in said if is_apart(name)]
    behind = {other for name in apart for other in imported(file_of(name))}
    # A stage's records hold those of other stages, and these stand beside what fills them.
    behind |= {other for name in behind if (file := file_of(name)) for other in imported(file)}
    rooms = {name.rpartition(".")[0] for name in {*apart, *behind}}  # packages, which hold nothing
    unseen = {name for name in said if file_of(name) not in seen}
    assert unseen <= {*apart, *behind, *rooms}
