"""The article's part of `rewire publish`: tables, curves and the small files of every cell."""

from __future__ import annotations

from pathlib import Path

from rewire.article.collected import LISTS, collected_from, noting, standard
from rewire.article.document import ARTICLE
from rewire.article.report.noise_rows import Row
from rewire.article.tables import draw, write_tables
from rewire.errors import InputError
from rewire.files import writable_folder, write_text
from rewire.pipeline.document import METRICS
from rewire.pipeline.made import read_config
from rewire.pipeline.profiles import profile_of
from rewire.provenance import PROVENANCE, Provenance
from rewire.reporting.page import page
from rewire.tools.published_files import caption, comment, copy_files, drop, provenances
from rewire.tracking import NullTracker
from rewire.training.metrics import DenseMetrics

TRAIN = "article_train"


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
    results = collected_from(source, profile.name)
    folders = [*(source / TRAIN / name for name in names), *results.folders]
    profile = noting(profile, results, folders)
    writable_folder(target)
    said = comment(target)
    for folder in folders:
        copy_files(folder, target / "cells" / folder.name)
    for cell in results.outdated:  # what was published of it is of another network
        drop(cell.folder.parent.name, target / "cells" / cell.folder.name)
    tables = write_tables(results, target / "tables", profile, NullTracker())
    draw(results.runs, target / "figures", profile.note, NullTracker())
    text = page(
        title=f"Pruning, cost functions and adversarial noise: profile {profile.name}",
        note=profile.note,
        tables=[path.read_text(encoding="utf-8") for path in tables],
        pictures=[
            (caption(path), path.relative_to(target))
            for path in sorted((target / "figures").glob("*.png"))
        ],
        cells=[overview(source / TRAIN / name) for name in names],
        provenance=provenances(source, names, (TRAIN, *LISTS)),
        comment=said,
    )
    write_text(target / "README.md", text)
    return target / "README.md"


def overview(training: Path) -> Row:
    """One row about one cell: its scale and its accuracy."""
    config, trained = read_config(training), DenseMetrics.read(training / METRICS)
    made_by = Provenance.read_if_there(training / PROVENANCE)
    return {
        "cell": training.name,
        "width": config["network"]["width"],
        "steps": trained.steps,
        "clean %": trained.clean.accuracy,
        "training, s": made_by.seconds if made_by else None,
    }
