"""Tables of noise, transfer and adaptive noise, as rows for Markdown.

Accuracies are in percent, averaged over draws, then over seeds; `seeds` says over how many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from pydantic import Field

from rewire.article.counts import accuracies
from rewire.article.report.runs import CLEAN, VECTORS, Measured, chosen, mean, mean_of
from rewire.article.results import Adapted, Noised, Transferred
from rewire.attacks.universal import VARIANTS
from rewire.record import Record
from rewire.reporting.text_tables import markdown_table

HEADS = ("sce", "lq", "rq")
MEAN, OTHERS = "mean of 8", "… without images of the vector's class"
AS_PLOTTED = ("G1", "E1")  # how the article makes noise and judges under it

Row = dict[str, str | float | None]
"""Column → what stands there."""
Shares = dict[str, float]
"""Column of results → accuracy in [0, 1]."""


class AdaptiveRow(Record):
    """Accuracies of pruned networks of one head, in percent; `kept`: of the static gain."""

    head: str
    point: str
    seeds: int
    sparsity: float | None = Field(alias="sparsity %")
    clean: float | None
    static: float | None
    adaptive: float | None
    kept: float | None = Field(alias="gain kept %")


def noise_rows(results: Iterable[Measured[Noised]], *, network: str) -> list[Row]:
    """Unpruned networks under noise of both variants (G1, G2), judged both ways (E1, E2).

    Args:
        results: of any network.
        network: which one.

    Returns:
        One row per head, variant and evaluation, a column per vector, and the mean of the
        article's eight: of all images, as the article counts, and of those of another class than
        the vector's.
    """
    values: dict[tuple[str, str, str], list[tuple[Shares, Shares]]] = {}
    for result in chosen(results, network=network):
        columns = result.metrics.columns
        for variant, evaluations in result.metrics.accuracy.items():
            for evaluation, counts in evaluations.items():
                found = (
                    accuracies(counts["all"], columns),
                    accuracies(counts["non_target"], columns),
                )
                values.setdefault((result.head, variant, evaluation), []).append(found)
    rows = []
    for (head, variant, evaluation), each in values.items():
        row: Row = {"head": head, "noise": variant, "evaluation": evaluation, "seeds": len(each)}
        row |= {column: mean_percent(f.get(column) for f, _ in each) for column in each[0][0]}
        row[MEAN] = mean_percent(of_vectors(f, network) for f, _ in each)
        rows.append(row | {OTHERS: mean_percent(of_vectors(f, network) for _, f in each)})
    return rows


def noise_numbers(result: Measured[Noised]) -> dict[str, float | None]:
    """What is asked first of an unpruned network: percent clean, and under the plots' noise."""
    variant, evaluation = AS_PLOTTED
    metrics = result.metrics
    found = accuracies(metrics.accuracy[variant][evaluation]["all"], metrics.columns)
    noisy = of_vectors(found, result.network)
    return {"clean": mean_percent([found.get(CLEAN)]), "under noise": mean_percent([noisy])}


def trainability_rows(results: Iterable[Measured[Noised]], *, network: str) -> list[Row]:
    """Accuracy under short noise of every loss and optimiser that was tried, a column per vector.

    Args:
        results: of any network.
        network: which one.
    """
    values: dict[tuple[str, str, str, float], dict[str, dict[int, float]]] = {}
    for result in chosen(results, network=network):
        for trial in result.metrics.trainability:
            key = (result.head, trial.loss, trial.optimiser, trial.lr)
            by_seed = values.setdefault(key, {}).setdefault(trial.column, {})
            by_seed[result.seed] = trial.correct / trial.images
    return [
        {
            "head": head,
            "loss": loss,
            "optimiser": optimiser,
            "lr": lr,
            "seeds": max(len(by_seed) for by_seed in columns.values()),
            **{column: mean_percent(by_seed.values()) for column, by_seed in columns.items()},
        }
        for (head, loss, optimiser, lr), columns in values.items()
    ]


def transfer_rows(
    results: Iterable[Measured[Transferred]], *, network: str = "ann", evaluation: str = "E1"
) -> list[Row]:
    """Mean accuracy over the eight vectors: a row per network and variant, a column per source.

    Args:
        results: of any network.
        network: which one.
        evaluation: "E1" or "E2".
    """
    found = chosen(results, network=network)
    heads = [head for head in HEADS if any(result.head == head for result in found)]
    rows = []
    for head, variant in product(heads, VARIANTS):
        each = [result.metrics for result in found if result.head == head]
        row: Row = {"network of": head, "noise": variant, "seeds": len(each), CLEAN: None}
        for source in HEADS:
            measured = [
                accuracies(metrics.sources[source][variant][evaluation], metrics.columns)
                for metrics in each
                if source in metrics.sources
            ]
            if measured:
                row[CLEAN] = mean_percent(values[CLEAN] for values in measured)
            row[f"noise of {source}"] = mean_percent(of_vectors(v, network) for v in measured)
        rows.append(row)
    return rows


def adaptive_rows(
    results: Iterable[Measured[Adapted]],
    noise: Iterable[Measured[Noised]] = (),
    *,
    network: str = "ann",
) -> list[AdaptiveRow]:
    """Pruned networks under the unpruned network's noise (static) and their own (adaptive).

    Args:
        results: of any network.
        noise: for a first row per head, of the same seeds: the whole network under its own noise.
        network: which one.

    Returns:
        One row per head and point: `clean`, the mean of the eight vectors for either noise, and
        the share of the static gain over the unpruned network that remains.
    """
    found: dict[str, dict[str | None, list[tuple[float, Shares, Shares]]]] = {}
    results = chosen(results, network=network)
    pruned_of = {(pruned.head, pruned.seed) for pruned in results}
    for whole in chosen(noise, network=network):
        if (whole.head, whole.seed) not in pruned_of:
            continue
        counts = whole.metrics.accuracy["G1"]["E1"]["all"]
        own = accuracies(counts, whole.metrics.columns)
        found.setdefault(whole.head, {}).setdefault(None, []).append((0.0, own, own))
    for pruned in results:
        columns = pruned.metrics.columns
        for point in pruned.metrics.points:
            both = accuracies(point.static, columns), accuracies(point.adaptive, columns)
            each = found.setdefault(pruned.head, {}).setdefault(point.point, [])
            each.append((point.sparsity, *both))
    rows = []
    for head, points in found.items():
        unpruned = None
        for name, each in points.items():
            static = mean_percent(of_vectors(under, network) for _, under, _ in each)
            adaptive = mean_percent(of_vectors(under, network) for _, _, under in each)
            if name is None and (unpruned := static) is None:
                continue
            rows.append(
                AdaptiveRow(
                    head=head,
                    point=name or CLEAN,
                    seeds=len(each),
                    sparsity=mean_percent(sparsity for sparsity, *_ in each),
                    clean=mean_percent(under[CLEAN] for _, under, _ in each),
                    static=static,
                    adaptive=adaptive,
                    kept=_kept(unpruned, static, adaptive),
                )
            )
    return rows


def rows_markdown(rows: Sequence[Mapping[str, object]], *, title: str, note: str) -> str:
    """A titled Markdown table with the profile's note; says so if there is no row."""
    table = markdown_table(rows) if rows else "Not run.\n"
    return f"# {title}\n\n**{note.strip()}**\n\n{table}"


def of_vectors(values: Mapping[str, float], network: str) -> float | None:
    """Mean over the article's eight vectors; None if one is missing."""
    vectors = VECTORS[network]
    return mean(values[v] for v in vectors) if all(v in values for v in vectors) else None


def _kept(unpruned: float | None, static: float | None, adaptive: float | None) -> float | None:
    if unpruned is None or static is None or adaptive is None:
        return None
    gain = static - unpruned
    return 100 * (adaptive - unpruned) / gain if gain > 0 else None


def mean_percent(shares: Iterable[float | None]) -> float | None:
    """`mean_of` shares, in percent."""
    centre = mean_of(shares)
    return None if centre is None else 100 * centre
