"""Gather the finished cells of a profile in a folder that can be committed.

rewire publish outputs/paper results/thesis/paper: metrics, histories, ledgers,
configurations and provenance of every cell of the thesis, its sparse network (up to 5 MB),
its card, all tables and figures, and a README.md and a report.html that show them. With
--document article: the same of the article, without cards and report. What you want to say of
the results goes into a comment.md in that folder; README.md shows it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from rewire.article.document import ARTICLE
from rewire.errors import InputError
from rewire.files import MANIFEST, writable_folder, write_text
from rewire.pipeline.common import Profile
from rewire.pipeline.document import CONFIG, LEDGER, SELECTIONS
from rewire.pipeline.made import command_for, read_config, recorded_hash, remark
from rewire.pipeline.profiles import profile_of
from rewire.reporting.build_table import build_table, write_table
from rewire.reporting.page import page
from rewire.reporting.table_spec import load_spec
from rewire.thesis.document import THESIS
from rewire.thesis.holdings import axes_of, finished, overview, shown_in, specifications
from rewire.thesis.paired import write_paired
from rewire.thesis.prunings import write_prunings
from rewire.thesis.shown import Result, results
from rewire.thesis.tables import draw
from rewire.tools.cards import write_cards
from rewire.tools.publish_article import publish_article
from rewire.tools.published_files import (
    caption,
    comment,
    copy_files,
    drop,
    provenances,
    published_config,
)
from rewire.tools.report import make_report
from rewire.tracking import NullTracker

STAGES = THESIS.with_results


def publish(source: Path, target: Path) -> Path:
    """Gather `source`, the outputs of one profile, in `target`; returns its page.

    Raises:
        InputError: if there is no finished training, or no such profile.
    """
    profile = profile_of(source, THESIS)
    names = finished(source, "train")
    if not names:
        raise InputError(
            f"no finished training in '{source / 'train'}'. Allowed: a profile's outputs."
        )
    writable_folder(target)
    said = comment(target)
    note = profile.note
    made = (source / stage / name for stage in STAGES for name in finished(source, stage))
    profile = profile.noting(remark(made))
    # Later stages have cells of their own, e.g. of another way of pruning.
    known = known_hashes(source)
    for name in sorted({name for stage in STAGES for name in finished(source, stage)}):
        copy_cell(source, name, target / "cells" / name, known=known)
        drop_outdated(target / "cells" / name, known=known)
    write_cards(target, note)
    rows = {name: list(results(source, name, profile.name)) for name in names}
    texts = [text for path in specifications() if (text := table(path, rows, profile, target))]
    axes = axes_of(names)
    write_paired(source, axes, target / "tables", profile=profile, tracker=NullTracker())
    texts.append((target / "tables" / "thesis_paired.md").read_text(encoding="utf-8"))
    draw(source, target / "figures", axes, NullTracker())
    if ways := write_prunings(source, names, target / "tables", target / "figures"):
        texts.append(ways)
    pictures = sorted((target / "figures").glob("*.png"))
    pictures += sorted(target.glob("cells/*/audit_curves.png"))
    text = page(
        title=f"Structured adversarial rewiring: profile {profile.name}",
        note=profile.note,
        tables=texts,
        pictures=[(caption(path), path.relative_to(target)) for path in pictures],
        cells=[overview(source, name) for name in names],
        provenance=provenances(source, names, STAGES),
        comment=said,
    )
    more = make_report(source, target / "report.html")
    text += f"\nCurves, matrices and what is behind every number: [{more.name}]({more.name}).\n"
    write_text(target / "README.md", text)
    return target / "README.md"


def table(
    path: Path,
    rows: Mapping[str, Sequence[Result]],
    profile: Profile,
    target: Path,
) -> str | None:
    """Write one table from the results of every cell; its Markdown, or None if nothing was run."""
    spec = load_spec(path)
    filled = build_table(spec, shown_in(spec, rows), profile=profile.name, note=profile.note)
    if not any(cell.n for cell in filled.cells):
        return None
    return write_table(filled, target / "tables")[0].read_text(encoding="utf-8")


def known_hashes(source: Path) -> set[str]:
    """Hashes of all networks and ledgers of finished results."""
    files = (*SELECTIONS.values(), LEDGER)
    folders = [path.parent for path in source.glob(f"*/*/{MANIFEST}")]
    found = (recorded_hash(folder / name) for folder in folders for name in files)
    return {digest for digest in found if digest}


def copy_cell(source: Path, name: str, target: Path, *, known: set[str]) -> None:
    """Copy what is small of every stage's result for one cell; STAGE_ before each file's name.

    A result that was made from a network or ledger that is not among the `known` ones stays away.
    """
    for stage in STAGES:
        folder = source / stage / name
        if not (folder / MANIFEST).is_file():
            continue
        if not known.issuperset((read_config(folder).get("inputs") or {}).values()):
            print(f"outdated and left out: {folder}: run {command_for(folder)}")
            continue
        copy_files(folder, target)


def drop_outdated(cell: Path, *, known: set[str]) -> None:
    """Take out what was published earlier of a stage that was made from another network.

    Args:
        cell: published; results that the source has no longer, but the networks of, stay.
        known: hashes of all networks and ledgers that are there.
    """
    for path in sorted(cell.glob(f"*_{CONFIG}")):
        stage = path.name.removesuffix(f"_{CONFIG}")
        inputs = published_config(path).get("inputs") or {}
        if not known.issuperset(inputs.values()):
            drop(stage, cell)


DOCUMENTS = {THESIS.name: publish, ARTICLE.name: publish_article}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="rewire publish", description=__doc__)
    parser.add_argument("source", type=Path, help="outputs of one profile, e.g. outputs/paper")
    parser.add_argument("target", type=Path, help="folder to write, e.g. results/thesis/paper")
    parser.add_argument("--document", choices=list(DOCUMENTS), default=THESIS.name)
    chosen = parser.parse_args(arguments)
    print(f"wrote {DOCUMENTS[chosen.document](chosen.source, chosen.target)}")
