"""What DVC's own views show: `dvc metrics show` a row of numbers per cell, `dvc plots show` curves.

DVC makes one row of every file, and draws files that the pipeline's stages left, with the template
`.dvc/plots/trainings.json`: one panel per group of cells, one line per cell.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rewire.files import csv_text, writable_folder, write_json, write_text
from rewire.pipeline.document import HISTORY, Document

METRIC_ROWS, CURVES = "metrics", "curves"  # folders beside those of tables and figures
PLACE = ("cell", "panel", "line")  # columns before those of a history
DIGITS = 3  # of a percentage

Numbers = Mapping[str, float | None]
"""Name of a number → percent, None where it was not measured."""


def write_views(
    output: Path, document: Document, *, rows: Mapping[str, Numbers], trainings: Path
) -> None:
    """Write both; what an earlier run left of this document goes.

    Args:
        output: folder that holds the tables.
        document: whose cells these are.
        rows: cell → its numbers; those without any are left out.
        trainings: folder with a folder per cell of the stage that trains.
    """
    folder = output / METRIC_ROWS / document.name
    shutil.rmtree(folder, ignore_errors=True)
    writable_folder(folder)
    for cell, numbers in rows.items():
        known = {name: round(n, DIGITS) for name, n in numbers.items() if n is not None}
        if known:
            write_json(folder / f"{cell}.json", known)
    curves = list(histories(document, rows, trainings))
    keys = [*PLACE, document.time, *document.curves, *(key for row in curves for key in row)]
    columns = list(dict.fromkeys(keys))
    lines = csv_text(columns, ([row.get(c, "") for c in columns] for row in curves or [{}]))
    write_text(writable_folder(output / CURVES) / f"{document.name}.csv", lines)


def histories(
    document: Document, cells: Iterable[str], trainings: Path
) -> Iterator[dict[str, Any]]:
    """The rows of the cells' histories, each with the panel and the line that it belongs to."""
    for cell in cells:
        path, parts = trainings / cell / HISTORY, document.names.fullmatch(cell)
        if not path.is_file() or parts is None:
            continue
        place = dict(
            zip(PLACE, (cell, panel := parts["base"], cell[len(panel) + 1 :]), strict=True)
        )
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield place | row
