"""The article's part of the report, read from a profile's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewire.article.document import ARTICLE, NAME
from rewire.article.report.best_performance import NETWORK, Performance, ordering, table1_results
from rewire.article.report.charts import article_training, curves_gallery
from rewire.article.report.findings import article_findings
from rewire.article.report.published_curves import load_plot
from rewire.article.tables import (
    LISTS,
    collect,
    further,
    outdated_results,
    runs_of,
    scored,
    sorted_out,
)
from rewire.pipeline.document import HISTORY
from rewire.pipeline.paths import CONF
from rewire.pipeline.profiles import finished, profile_of
from rewire.pipeline.state import Results
from rewire.reporting.html.charts import Seeds, history
from rewire.reporting.html.findings import tone
from rewire.reporting.html.model import Article, Claim, Picture, RowsView
from rewire.reporting.html.tables import Location, table_view
from rewire.reporting.table_spec import load_spec

PICTURES = {  # stage → (file, what it shows)
    "article_noise": ("noise.png", "universal noise made on {}"),
    "article_decoupled": ("decoupled.png", "decoupled convolutions of {}"),
}
LARGEST = 400_000  # bytes of a picture that is still on the page


def read_article(state: Results) -> Article | None:
    """Everything of the article that is in the folder; None if nothing was trained."""
    source = state.source
    trained = standard(source, "article_train")
    if not trained:
        return None
    profile = profile_of(source, ARTICLE)
    name = profile.name
    found, outdated = sorted_out(gathered(source, name))
    runs = runs_of(found)
    claims = scored(found, runs)

    def locate(result: Performance, metric: str) -> Location:
        # What is chosen at matched accuracy is read off the curves.
        point, evaluation, column = result.pruning, result.evaluation, result.column
        matched = point.endswith("matched")
        return state.locate(
            "article_curves",
            f"{NETWORK}-{result.head}-seed{result.seed}",
            file="curves.csv" if matched else "metrics.json",
            place=f"{'curve' if matched else 'point'} {point}, {evaluation}, column {column}",
        )

    spec = load_spec(CONF / "article" / "table" / "article_table1.yaml")
    view = table_view(
        spec,
        [*table1_results(runs), *outdated_results(spec, outdated)],
        profile=name,
        note=profile.note,
        locate=locate,
    )
    tables = {name: (title, rows) for name, (title, rows) in further(found, runs).items() if rows}
    adaptive = tables.get("article_adaptive_ann", ("", []))[1]
    plots = [load_plot(path) for path in sorted((CONF / "article" / "published").glob("*.yaml"))]
    plots.sort(key=lambda plot: (plot.network, plot.title))
    return Article(
        note=profile.note.strip(),
        findings=article_findings(view.table, ordering(runs), claims, adaptive),
        table=view,
        claims=tuple(_claim(claim) for claim in claims),
        curves=curves_gallery(plots, runs),
        training=article_training(_histories(source, trained)),
        further=tuple(RowsView(name, title, tuple(rows)) for name, (title, rows) in tables.items()),
        pictures=tuple(_pictures(source)),
    )


def standard(source: Path, stage: str) -> list[str]:
    """Finished cells of a stage that are no variants."""
    matches = [NAME.fullmatch(name) for name in finished(source, stage)]
    return [match.string for match in matches if match and not match["rest"]]


def gathered(source: Path, profile: str) -> dict[str, list[dict[str, Any]]]:
    """Stage → the results of its finished cells that are no variants, current or not."""
    return {
        stage: list(collect(source / stage, *_axes(standard(source, stage)), profile))
        for stage in LISTS
    }


def _axes(names: Sequence[str]) -> tuple[list[str], list[int]]:
    """Cells and seeds of folder names, as in params.yaml."""
    matches = [NAME.fullmatch(name) for name in names]
    cells = dict.fromkeys(match["base"] for match in matches)
    return list(cells), sorted({int(match["seed"]) for match in matches})


def _claim(claim: Mapping[str, Any]) -> Claim:
    return Claim(
        letter=claim["claim"],
        text=claim["text"],
        verdict=claim["verdict"],
        seeds=claim["seeds"],
        numbers=tuple(claim["numbers"].split("\n")),
        criterion=claim["criterion"],
        published=claim["published"],
        tone=tone(claim["verdict"]),
    )


def _histories(source: Path, names: Sequence[str]) -> dict[str, Seeds]:
    found: dict[str, list] = {}
    for name in names:
        path = source / "article_train" / name / HISTORY
        if path.is_file():
            found.setdefault(NAME.fullmatch(name)["base"], []).append(history(path))
    return found


def _pictures(source: Path):
    """The first seed's pictures."""
    for stage, (file, text) in PICTURES.items():
        cells, seeds = _axes(standard(source, stage))
        for cell in cells:
            path = source / stage / f"{cell}-seed{seeds[0]}" / file
            if path.is_file() and path.stat().st_size <= LARGEST:
                yield Picture(text.format(cell), path.read_bytes())
