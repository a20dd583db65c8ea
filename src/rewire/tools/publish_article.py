"""The article's part of `rewire publish`: tables, curves and the small files of every cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewire.article.document import ARTICLE
from rewire.article.report.chapter import gathered, standard
from rewire.article.tables import LISTS, draw, runs_of, sorted_out, write_tables
from rewire.errors import InputError
from rewire.files import read_json, writable_folder, write_text
from rewire.pipeline.document import METRICS
from rewire.pipeline.made import read_config, remark
from rewire.pipeline.profiles import profile_of
from rewire.provenance import PROVENANCE, Provenance
from rewire.reporting.page import page
from rewire.tools.published_files import caption, copy_files, provenance_of
from rewire.tracking import NullTracker

TRAIN = "article_train"
TABLES = ("article_table1", "article_ordering", "article_claims")  # before all others


def publish_article(source: Path, target: Path) -> Path:
    """Gather the article's cells in `source`, the outputs of one profile, in `target`.

    Returns:
        The page.

    Raises:
        InputError: if there is no finished training, or no such profile.
    """
    profile = profile_of(source, ARTICLE)
    names = standard(source, TRAIN)
    if not names:
        raise InputError(
            f"no finished training of the article in '{source / TRAIN}'. Allowed: a profile's "
            "outputs."
        )
    results, outdated = sorted_out(gathered(source, profile.name))
    for result in outdated:
        print(f"outdated and left out: {result['folder']}: run {result['outdated']}")
    folders = [source / TRAIN / name for name in names]
    folders += [result["folder"] for each in results.values() for result in each]
    profile = profile.noting(remark(folders))
    writable_folder(target)
    for folder in folders:
        copy_files(folder, target / "cells" / folder.name)
    runs = runs_of(results)
    write_tables(results, runs, target / "tables", profile, NullTracker())
    draw(runs, target / "figures", profile.note, NullTracker())
    tables = sorted((target / "tables").glob("*.md"), key=lambda path: _place(path.stem))
    text = page(
        title=f"Pruning, cost functions and adversarial noise: profile {profile.name}",
        note=profile.note,
        tables=[path.read_text(encoding="utf-8") for path in tables],
        pictures=[
            (caption(path), path.relative_to(target))
            for path in sorted((target / "figures").glob("*.png"))
        ],
        cells=[overview(source / TRAIN / name) for name in names],
        provenance=provenance_of(source, names, (TRAIN, *LISTS)),
    )
    write_text(target / "README.md", text)
    return target / "README.md"


def overview(training: Path) -> Mapping[str, Any]:
    """One row about one cell: its scale and its accuracy."""
    config, trained = read_config(training), read_json(training / METRICS)
    path = training / PROVENANCE
    return {
        "cell": training.name,
        "width": config["network"]["width"],
        "steps": trained["steps"],
        "clean %": trained["clean"]["accuracy"],
        "training, s": Provenance.read(path).seconds if path.is_file() else None,
    }


def _place(name: str) -> tuple[int, str]:
    return (TABLES.index(name) if name in TABLES else len(TABLES)), name
