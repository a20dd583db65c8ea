"""dvc.yaml is what the stages declare; it sees what decides their configuration, and no more.

Every section of the shared configuration files is changed by itself: DVC must run those stages
again whose composed configuration is another one, and no other.
"""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from rewire.config.command_line import check_arguments, search_path
from rewire.pipeline.cell import Cell
from rewire.pipeline.document import Document
from rewire.pipeline.documents import DOCUMENTS
from rewire.pipeline.dvc_yaml import PIPELINE, TABLES, main, pipeline, profile_faults

ROOT = Path(__file__).resolve().parents[2]
# One cell of each document, at the quick scale: name of a stage's entry, overrides of Hydra.
CELLS = {
    "thesis": ("trades-s0.95-l2-0", ("experiment=trades-s0.95", "rewire=l2")),
    "article": ("cnn-lq-0", ("experiment=cnn-lq",)),
}


def test_dvc_yaml_is_what_the_stages_declare(tmp_path, capsys):
    text = (ROOT / PIPELINE).read_text()
    assert pipeline(ROOT) == text, "run rewire pipeline"
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    assert main(["--root", str(tmp_path)]) == 0
    assert (tmp_path / PIPELINE).read_text() == text
    assert "wrote" in capsys.readouterr().out


def leaves(values: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """A value of every section: DVC tracks these as a whole, but of `profile` each entry."""
    for key, value in values.items():
        inside = value if key == "profile" else list(value)[:1] if isinstance(value, dict) else []
        yield from ((key, name) for name in inside)
        if not inside:
            yield (key,)


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, 7]
    if isinstance(value, dict):
        return {key: other(inner) for key, inner in value.items()} or {"added": 7}
    return f"{value}x" if isinstance(value, str) else 7


def replaced(values: Any, path: tuple[str, ...], value: Any) -> Any:
    values = copy.deepcopy(values)
    node = values
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return values


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """What DVC reads of this checkout, without its code and results."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "conf", folder / "conf")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def dependencies(project):
    """Stage → the dependencies of its cell in `CELLS` on configuration, as DVC reads them."""

    with Repo(str(project)) as repo:
        stages = {stage.name: stage for stage in repo.index.stages}
        yield {
            name: [d for d in stages[f"{name}@{cell}"].deps if "conf" in Path(str(d)).parts]
            for document in DOCUMENTS
            for cell in [CELLS[document.name][0]]
            for name in cell_stages(document)
        }


def cell_stages(document: Document) -> list[str]:
    return [n for n in document.stages if n not in (*TABLES, "surrogates", "article_transfer")]


def seen(dependencies: dict[str, list], path: Path) -> dict[str, list]:
    """Stage → what DVC compares of a file: values of keys, or the folder's texts."""
    return {
        stage: [
            d.read_params() if hasattr(d, "params") else contents(Path(d.fs_path))
            for d in found
            if path.is_relative_to(d.fs_path)
        ]
        for stage, found in dependencies.items()
    }


def contents(path: Path) -> list[str]:
    files = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
    return [file.read_text() for file in files]


def stages_that_see(change, project, dependencies) -> set[str]:
    """Stages that DVC would run again after (file below conf, its new text)."""
    file, text = change
    path = project / "conf" / file
    before, kept = seen(dependencies, path), path.read_text()
    path.write_text(text)
    try:
        after = seen(dependencies, path)
    finally:
        path.write_text(kept)
    return {stage for stage in before if before[stage] != after[stage]}


def stages_that_change(document: Document, before: Any, after: Any) -> set[str]:
    return {
        stage
        for stage in cell_stages(document)
        if Cell(stage, before).deciding() != Cell(stage, after).deciding()
    }


def settings(document: Document, conf: Path) -> dict[str, Any]:
    """The resolved configuration of the document's cell in `CELLS`."""
    with initialize_config_dir(str(conf / document.name), version_base="1.3"):
        config = compose("config", overrides=[search_path(conf), *CELLS[document.name][1]])
    return OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize("file", ["profile/quick.yaml", "config.yaml"])
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_shared_key_reruns_the_stages_whose_configuration_it_changes_and_no_other(
    document, file, project, dependencies
):
    """Something of each section of the files that all stages share, changed by itself."""
    file = (Path(document.name) / file).as_posix()
    path = project / "conf" / file
    text = path.read_text()
    values = yaml.safe_load(text)
    before = settings(document, project / "conf")
    looked_at, coarse = 0, []
    for key in leaves(values):
        if key[0] in ("hydra", "defaults", "seed") or key == ("profile", "name"):
            continue  # Hydra's own, the choice of files (below), what the command gives
        value = values
        for name in key:
            value = value[name]
        change = (file, head(text) + yaml.safe_dump(replaced(values, key, other(value))))
        rerun = stages_that_see(change, project, dependencies)
        path.write_text(change[1])
        try:
            after = settings(document, project / "conf")
        finally:
            path.write_text(text)
        wanted = stages_that_change(document, before, after)
        assert wanted <= rerun, (key, "is not seen by", wanted - rerun)
        if rerun - wanted:
            coarse.append(".".join(map(str, key)))
        looked_at += 1
    assert looked_at >= 3
    # Given by the experiment, or read by other experiments: seen, although this cell has no use.
    assert {name for name in coarse if not name.startswith("profile.")} <= {"sparsity"}


def head(text: str) -> str:
    return "".join(line for line in text.splitlines(True)[:1] if line.startswith("# @package"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_group_reruns_the_stages_that_it_decides_and_no_other(
    document, project, dependencies
):
    """Another choice in the root configuration, and another value in the chosen file."""
    root = Path(document.name) / "config.yaml"
    text = (project / "conf" / root).read_text()
    for choice in (c for c in yaml.safe_load(text)["defaults"] if isinstance(c, dict)):
        ((group, name),) = choice.items()
        users = {s for s in cell_stages(document) if group in document.stages[s].groups}
        if group not in ("profile", "experiment", "rewire") and "override" not in group:
            change = (root, re.sub(rf"- {group}: \S+", f"- {group}: another", text, count=1))
            assert change[1] != text
            assert stages_that_see(change, project, dependencies) == users, group
        folder = project / "conf" / document.name / group
        files = sorted(folder.glob("*.yaml")) if users else []
        chosen = "l2" if group == "rewire" else name
        for file in (f for f in files if f.stem == chosen):
            change = (file.relative_to(project / "conf"), file.read_text() + "more: 1\n")
            assert stages_that_see(change, project, dependencies) == users, file


def test_more_restarts_evaluate_anew_and_other_audit_images_train_nothing(project, dependencies):
    file = "thesis/profile/quick.yaml"
    text = (project / "conf" / file).read_text()
    restarts = (file, text.replace("restarts: 2", "restarts: 5"))
    images = (file, text.replace("images: 50", "images: 60"))
    note = (file, text.replace("Quick profile", "The quick profile"))
    assert stages_that_see(restarts, project, dependencies) == {"evaluate", "audit"}
    assert stages_that_see(images, project, dependencies) == {"audit"}
    assert stages_that_see(note, project, dependencies) == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_profile_has_the_sections_that_stages_depend_on(document):
    for path in (ROOT / "conf" / document.name / "profile").glob("*.yaml"):
        assert list(profile_faults(yaml.safe_load(path.read_text()), document, ROOT)) == []


def test_a_profile_that_dvc_would_not_see_or_stop_at_is_refused_before_any_work(tmp_path):
    conf = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    path = conf / "thesis" / "profile" / "quick.yaml"
    text = path.read_text().replace("prune: {}\n", "selection: best_test\n")
    path.write_text(re.sub("  thin: .*", "", text))
    errors = check_arguments("train", ["rewire=l2"], conf).found.errors
    assert len(errors) == 3
    assert "conf/thesis/profile/quick.yaml lacks 'profile.thin'" in errors[0]
    assert "lacks 'prune'. Allowed: also an empty one, {}." in errors[1]
    assert "has 'selection', which no stage of dvc.yaml depends on. Allowed: attack," in errors[2]
