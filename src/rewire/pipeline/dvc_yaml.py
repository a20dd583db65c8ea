"""`rewire pipeline` writes dvc.yaml from what the stages declare.

What a stage reads is declared in the `document.py` of its document; its code is what it imports
(`rewire.sources`). DVC compares folders and files byte by byte, and of the files that all stages
share (the root configuration and the profile) the keys that have a say in the stage.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rewire.files import write_text
from rewire.pipeline.document import Document, Stage
from rewire.pipeline.documents import DOCUMENTS, document_of, module_of
from rewire.pipeline.dvc_views import CURVES, METRIC_ROWS
from rewire.sources import PACKAGE, closure

PIPELINE = Path("dvc.yaml")
TEMPLATE = "trainings"  # .dvc/plots/trainings.json
HEAD = """\
# Written by `rewire pipeline` from what the stages declare in
# src/rewire/{thesis,article}/document.py; a test holds it to that. What to run: params.yaml.
#
# The thesis: train, prune, evaluate (PGD), structure, audit, one cell of the matrix at a time. The
# article: train, noise, curves, adaptive, transfer, decoupled. Then the tables of both, and a page.
# Of conf/thesis/config.yaml, `defaults.*.attack` is the file that is chosen of conf/thesis/attack;
# a profile has every section, empty ones too, because DVC stops where one is missing.
"""
REPORT = "rewire.tools.report"
# Of all cells together: one entry for these stages, as they write into the same folders.
TABLES = tuple(n for d in DOCUMENTS for n, stage in d.stages.items() if stage.axes == ())
PROFILE, EXPERIMENT, OVERRIDES = "${profile}", "${item.cell}", "defaults"
# Depended on as folders, whoever imports a part: their files only work together, and bring what
# Python does not import (images, C++); all others are depended on file by file.
AS_A_WHOLE = ("connectivity", "data", "engine", "models", "objectives")


class Keys(list):
    """Written into one line, as far as they fit."""


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


_Dumper.add_representer(
    Keys, lambda dumper, keys: dumper.represent_sequence("tag:yaml.org,2002:seq", keys, True)
)
_Dumper.add_representer(
    type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "")
)


def pipeline(root: Path) -> str:
    """The text of dvc.yaml for the project in `root`."""
    stages = {
        name: cell_stage(name, document, root)
        for document in DOCUMENTS
        for name in document.stages
        if name not in TABLES
    }
    stages["tables"] = tables_stage(root)
    stages["report"] = report_stage(root)
    parts = [
        {"vars": ["params.yaml"]},
        *({name: stage} for name, stage in stages.items()),
        {"plots": plots()},
    ]
    first, *others, last = [
        yaml.dump(part, Dumper=_Dumper, sort_keys=False, width=96, allow_unicode=True)
        for part in parts
    ]
    indented = ("".join(f"  {line}\n" for line in text.splitlines()) for text in others)
    return f"{HEAD}{first}\nstages:\n" + "\n".join(indented) + f"\n{last}"


def cell_stage(name: str, document: Document, root: Path) -> dict[str, Any]:
    """One entry of dvc.yaml: a stage over the cells of its document."""
    stage = document.stages[name]
    axes = axes_of(stage, document)
    cell = cell_name(axes)
    given = [
        f"'profile={PROFILE}'",
        f"'experiment={EXPERIMENT}'",
        *(f"'{axis}=${{item.{axis}}}'" for axis in axes if axis != "cell"),
    ]
    made = f"outputs/{PROFILE}"
    return {
        "matrix": {axis: f"${{{document.name}.{name}}}" for axis, name in axes.items()},
        "cmd": f"{command(document, name)} {' '.join(given)}",
        "deps": [
            *(f"{made}/{path}" for path in read_by(stage, cell)),
            *configuration_files(stage, document, axes, root),
            *code_paths([document.module(name)]),
        ],
        "params": [
            *stage.params,
            {shared_file(document, "config"): root_keys(stage, document, axes, root)},
            {shared_file(document, f"profile/{PROFILE}"): profile_keys(stage, document, root)},
            {shared_file(document, f"experiment/{EXPERIMENT}"): None},
        ],
        "outs": [f"{made}/{name}/{cell}/{file}" for file in stage.outs],
    }


def tables_stage(root: Path) -> dict[str, Any]:
    """What the documents show."""
    documents = [document_of(name) for name in TABLES]
    declared = [(d, d.stages[name]) for d, name in zip(documents, TABLES, strict=True)]
    return {
        "cmd": [f"{command(document_of(name), name)} 'profile={PROFILE}'" for name in TABLES],
        "deps": [
            *(f"outputs/{PROFILE}/{path}" for _, stage in declared for path in stage.reads),
            *(p for d, stage in declared for p in configuration_files(stage, d, {}, root)),
            *code_paths([module_of(name) for name in TABLES]),
        ],
        "params": [
            *(key for _, stage in declared for key in stage.params),
            *({shared_file(d, f"profile/{PROFILE}"): Keys(["profile.note"])} for d, _ in declared),
        ],
        "metrics": [f"outputs/{METRIC_ROWS}"],
        "outs": ["outputs/tables", "outputs/figures", f"outputs/{CURVES}"],
    }


def plots() -> list[dict[str, Any]]:
    """What `dvc plots show` draws: a page of curves per document, one plot per quantity."""
    return [
        {
            f"{document.name}: {label}": {
                "template": TEMPLATE,
                "x": document.time,
                "y": {f"outputs/{CURVES}/{document.name}.csv": column},
                "y_label": label,
            }
        }
        for document in DOCUMENTS
        for column, label in document.curves.items()
    ]


def report_stage(root: Path) -> dict[str, Any]:
    """The last entry: one page of both documents."""
    read = [name for document in DOCUMENTS for name in document.with_results]
    conf = [Path("conf") / d.name / group for d in DOCUMENTS for group in ("table", "published")]
    # Its templates, styles and scripts are no Python: the package is depended on as a folder.
    page = f"src/{PACKAGE.name}/reporting/html"
    code = [path for path in code_paths([REPORT]) if not path.startswith(f"{page}/")]
    return {
        "cmd": f"python stage.py report 'outputs/{PROFILE}'",
        "deps": [
            *(f"outputs/{PROFILE}/{name}" for name in read),
            "outputs/tables",
            *(path.as_posix() for path in conf if (root / path).is_dir()),
            *sorted([*code, page]),
        ],
        "params": [
            {shared_file(d, f"profile/{PROFILE}"): Keys(["profile.note"])} for d in DOCUMENTS
        ],
        "outs": ["outputs/report"],
    }


def command(document: Document, name: str) -> str:
    """What runs a stage with the code of the folder it is started in."""
    return f"python stage.py {document.name} {document.short(name)}"


def axes_of(stage: Stage, document: Document) -> dict[str, str]:
    """Axis → list in the document's part of params.yaml."""
    lists = {"cell": stage.cells, **document.lists}
    return {axis: lists[axis] for axis in (lists if stage.axes is None else stage.axes)}


def cell_name(axes: Iterable[str]) -> str:
    """The name of a cell's folder: `${item.cell}-${item.rewire}-seed${item.seed}`."""
    return "-".join(f"{'seed' if axis == 'seed' else ''}${{item.{axis}}}" for axis in axes)


def read_by(stage: Stage, cell: str) -> list[str]:
    """What a stage reads below outputs/PROFILE."""
    own = [f"{earlier}/{cell}/{file}" for earlier, file in stage.inputs.items()]
    return [*own, *(path.replace("{cell}", cell) for path in stage.reads)]


def shared_file(document: Document, name: str) -> str:
    """A configuration file of a document, as a path from the project's root."""
    return (Path("conf") / document.name / f"{name}.yaml").as_posix()


def configuration_files(
    stage: Stage, document: Document, axes: Iterable[str], root: Path
) -> list[str]:
    """Folders of the groups that have a say; of a group that is an axis, the chosen file alone."""
    conf = Path("conf") / document.name
    return [
        (conf / group / f"${{item.{group}}}.yaml" if group in axes else conf / group).as_posix()
        for group in stage.groups
        if (root / conf / group).is_dir()
    ]


def root_keys(stage: Stage, document: Document, axes: Iterable[str], root: Path) -> Keys:
    """Keys of the root configuration that have a say and are not given by the command."""
    values = root_configuration(document, root)
    chosen = {key for entry in values[OVERRIDES] if isinstance(entry, dict) for key in entry}
    groups = [f"{OVERRIDES}.*.{g}" for g in stage.groups if g in chosen and g not in axes]
    return Keys([*groups, *(key for key in (*stage.groups, "sparsity") if key in values)])


def profile_keys(stage: Stage, document: Document, root: Path) -> Keys:
    """Keys of a profile that have a say: the groups' sections, and what these refer to."""
    sections = [group for group in stage.groups if group in groups_of(document, root)]
    return Keys([OVERRIDES, *(f"profile.{scale}" for scale in document.scales), *sections])


def profile_faults(profile: Mapping[str, Any], document: Document, root: Path) -> Iterator[str]:
    """What a profile's file lacks, and what nobody would notice in it.

    DVC stops at a key that is missing, but only after the work; a change of a section that no
    stage depends on would leave old results.
    """
    keys = {k for stage in document.stages.values() for k in profile_keys(stage, document, root)}
    own = {f"profile.{name}" for name in profile.get("profile", {})}
    for key in sorted(keys - set(profile) - own):
        yield f"lacks '{key}'. Allowed: also an empty one, {'[]' if key == OVERRIDES else '{}'}."
    for key in sorted(set(profile) - keys - {"profile"}):
        allowed = ", ".join(sorted({key.partition(".")[0] for key in keys} | {"profile"}))
        yield f"has '{key}', which no stage of dvc.yaml depends on. Allowed: {allowed}."


def groups_of(document: Document, root: Path) -> list[str]:
    """All groups that have a say in any of a document's cells and are sections of the profile."""
    names = dict.fromkeys(g for stage in document.stages.values() for g in stage.groups)
    chosen = root_configuration(document, root)[OVERRIDES]
    return [name for name in names if any(isinstance(c, dict) and name in c for c in chosen)]


def code_paths(modules: Sequence[str]) -> list[str]:
    """The code of these modules: packages as folders, see `AS_A_WHOLE`, else files."""
    found = set()
    for file in (file for module in modules for file in closure(module)):
        if not file.is_relative_to(PACKAGE):
            continue  # an extension, of a folder that is not the pipeline's
        inside = file.relative_to(PACKAGE)
        whole = inside.parts[0] in AS_A_WHOLE
        found.add(f"src/{PACKAGE.name}/{inside.parts[0] if whole else inside.as_posix()}")
    return sorted(found)


@functools.cache
def root_configuration(document: Document, root: Path) -> dict[str, Any]:
    """The file that every stage of a document composes."""
    return yaml.safe_load((root / shared_file(document, "config")).read_text(encoding="utf-8"))


def main(arguments: list[str] | None = None) -> int:
    """Write dvc.yaml; exit code 0."""
    parser = argparse.ArgumentParser(prog="rewire pipeline", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(), help=f"folder of {PIPELINE}")
    root = parser.parse_args(arguments).root
    write_text(root / PIPELINE, pipeline(root))
    print(f"wrote {root / PIPELINE}")
    return 0
