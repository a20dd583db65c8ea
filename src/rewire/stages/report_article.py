"""The second document's part of the report, read from a profile's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewire.reporting.blog_published import load_plot
from rewire.reporting.blog_table import NETWORK, ordering, table1_results
from rewire.reporting.html.charts import Seeds, article_training, curves_gallery
from rewire.reporting.html.findings import article_findings, tone
from rewire.reporting.html.model import Article, Claim, Location, Picture, RowsView
from rewire.reporting.html.tables import table_view
from rewire.reporting.published import load_spec
from rewire.stages.blog_tables import (
    LISTS,
    collect,
    further,
    outdated_results,
    runs_of,
    scored,
    sorted_out,
)
from rewire.stages.documents import BLOG, HISTORY
from rewire.stages.entry import CONF
from rewire.stages.holdings import finished, profile_of
from rewire.stages.report_state import BLOG_NAME, Results
from rewire.stages.report_thesis import history

PICTURES = {  # stage → (file, what it shows)
    "blog_noise": ("noise.png", "universal noise made on {}"),
    "blog_decoupled": ("decoupled.png", "decoupled convolutions of {}"),
}
LARGEST = 400_000  # bytes of a picture that is still on the page


def read_article(state: Results) -> Article | None:
    """Everything of the second document that is in the folder; None if nothing was trained."""
    source = state.source
    trained = standard(source, "blog_train")
    if not trained:
        return None
    profile = profile_of(source, BLOG)
    name = profile["name"]
    every = {
        stage: list(collect(source / stage, *_axes(standard(source, stage)), name))
        for stage in LISTS
    }
    found, outdated = sorted_out(every)
    runs = runs_of(found)
    claims = scored(found, runs)

    def locate(result: Mapping[str, Any], metric: str) -> Location:
        # What is chosen at matched accuracy is read off the curves.
        point, evaluation, column = (result[key] for key in ("pruning", "evaluation", "column"))
        matched = point.endswith("matched")
        return state.locate(
            "blog_curves",
            f"{NETWORK}-{result['head']}-seed{result['seed']}",
            file="curves.csv" if matched else "metrics.json",
            place=f"{'curve' if matched else 'point'} {point}, {evaluation}, column {column}",
        )

    spec = load_spec(CONF / "blog" / "table" / "blog_table1.yaml")
    view = table_view(
        spec,
        [*table1_results(runs), *outdated_results(spec, outdated)],
        profile=name,
        note=profile["note"],
        locate=locate,
    )
    tables = {name: (title, rows) for name, (title, rows) in further(found, runs).items() if rows}
    adaptive = tables.get("blog_adaptive_ann", ("", []))[1]
    plots = [load_plot(path) for path in sorted((CONF / "blog" / "published").glob("*.yaml"))]
    plots.sort(key=lambda plot: (plot.network, plot.title))
    return Article(
        note=profile["note"].strip(),
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
    matches = [BLOG_NAME.fullmatch(name) for name in finished(source, stage)]
    return [match.string for match in matches if match and not match["rest"]]


def _axes(names: Sequence[str]) -> tuple[list[str], list[int]]:
    """Cells and seeds of folder names, as in params.yaml."""
    matches = [BLOG_NAME.fullmatch(name) for name in names]
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
        path = source / "blog_train" / name / HISTORY
        if path.is_file():
            found.setdefault(BLOG_NAME.fullmatch(name)["base"], []).append(history(path))
    return found


def _pictures(source: Path):
    """The first seed's pictures."""
    for stage, (file, text) in PICTURES.items():
        cells, seeds = _axes(standard(source, stage))
        for cell in cells:
            path = source / stage / f"{cell}-seed{seeds[0]}" / file
            if path.is_file() and path.stat().st_size <= LARGEST:
                yield Picture(text.format(cell), path.read_bytes())
