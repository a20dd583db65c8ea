"""The article's part of the report, read from a profile's folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rewire.article.collected import collected_from, standard
from rewire.article.document import ARTICLE
from rewire.article.report.best_performance import NETWORK, Performance, ordering, table1_results
from rewire.article.report.charts import article_training, curves_gallery
from rewire.article.report.claims import ScoredClaim, score_claims
from rewire.article.report.findings import article_findings
from rewire.article.report.noise_rows import adaptive_rows
from rewire.article.report.published_curves import load_plot
from rewire.article.tables import further, outdated_results
from rewire.pipeline.document import HISTORY
from rewire.pipeline.paths import CONF
from rewire.pipeline.profiles import profile_of
from rewire.pipeline.state import Results
from rewire.reporting.html.charts import Seeds, history
from rewire.reporting.html.findings import tone
from rewire.reporting.html.model import Article, Claim, Picture
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
    found = collected_from(source, profile.name)
    runs = found.runs
    claims = score_claims(runs=runs, noise=found.noise, decoupled=found.decoupled)

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
        [*table1_results(runs), *outdated_results(spec, found.outdated)],
        profile=profile.name,
        note=profile.note,
        locate=locate,
    )
    adaptive = adaptive_rows(found.adaptive, found.noise)
    plots = [load_plot(path) for path in sorted((CONF / "article" / "published").glob("*.yaml"))]
    plots.sort(key=lambda plot: (plot.network, plot.title))
    return Article(
        note=profile.note.strip(),
        findings=article_findings(view.table, ordering(runs), claims, adaptive),
        table=view,
        claims=tuple(_claim(claim) for claim in claims),
        curves=curves_gallery(plots, runs),
        training=article_training(_histories(source, trained)),
        further=tuple(view for view in further(found) if view.rows),
        pictures=tuple(_pictures(source)),
    )


def _claim(claim: ScoredClaim) -> Claim:
    return Claim(
        letter=claim.claim,
        text=claim.text,
        verdict=claim.verdict,
        seeds=claim.seeds,
        numbers=tuple(claim.numbers.split("\n")),
        criterion=claim.criterion,
        published=claim.published,
        tone=tone(claim.verdict),
    )


def _histories(source: Path, names: Sequence[str]) -> Mapping[str, Seeds]:
    found: dict[str, list] = {}
    for name in names:
        path = source / "article_train" / name / HISTORY
        if path.is_file():
            found.setdefault(_base(name), []).append(history(path))
    return found


def _pictures(source: Path) -> Iterator[Picture]:
    """The first seed's pictures."""
    for stage, (file, text) in PICTURES.items():
        first: dict[str, str] = {}
        for name in standard(source, stage):
            first.setdefault(_base(name), name)
        for base, name in first.items():
            path = source / stage / name / file
            if path.is_file() and path.stat().st_size <= LARGEST:
                yield Picture(text.format(base), path.read_bytes())


def _base(name: str) -> str:
    return name.rpartition("-seed")[0]
