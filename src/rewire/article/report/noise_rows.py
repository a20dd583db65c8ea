"""Tables of noise, transfer and adaptive noise, as rows for Markdown.

Accuracies are in percent, averaged over draws, then over seeds; `seeds` says over how many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rewire.article.report.runs import CLEAN, VECTORS, accuracies, chosen, mean
from rewire.reporting.text_tables import markdown_table

HEADS = ("sce", "lq", "rq")
MEAN = "mean of 8"
AS_PLOTTED = ("G1", "E1")  # how the article makes noise and judges under it

Row = dict[str, Any]


def noise_rows(
    results: Iterable[Mapping[str, Any]], *, network: str, images: str = "all"
) -> list[Row]:
    """Unpruned networks under noise of both variants (G1, G2), judged both ways (E1, E2).

    Args:
        results: of `article_noise`: {"network", "head", "seed", "profile", "metrics"}.
        network: which one.
        images: "all", as the article counts, or "non_target", without images of the target class.

    Returns:
        One row per head, variant and evaluation, a column per vector, and the mean of the
        article's eight.
    """
    values: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for result in chosen(results, network=network):
        metrics = result["metrics"]
        for variant, evaluations in metrics["accuracy"].items():
            for evaluation, counts in evaluations.items():
                found = accuracies(counts[images], metrics["columns"])
                values.setdefault((result["head"], variant, evaluation), []).append(found)
    rows = []
    for (head, variant, evaluation), each in values.items():
        row = {"head": head, "noise": variant, "evaluation": evaluation, "seeds": len(each)}
        row |= {column: mean_percent(f.get(column) for f in each) for column in each[0]}
        rows.append(row | {MEAN: mean_percent(of_vectors(f, network) for f in each)})
    return rows


def noise_numbers(result: Mapping[str, Any]) -> dict[str, float | None]:
    """What is asked first of an unpruned network: percent clean, and under noise as in the plots.

    Args:
        result: of `article_noise`, as for `noise_rows`.
    """
    rows = noise_rows([result], network=result["network"])
    (row,) = (row for row in rows if (row["noise"], row["evaluation"]) == AS_PLOTTED)
    return {"clean": row[CLEAN], "under noise": row[MEAN]}


def trainability_rows(results: Iterable[Mapping[str, Any]], *, network: str) -> list[Row]:
    """Accuracy under short noise of every loss and optimiser that was tried, a column per vector.

    Args:
        results: of `article_noise`, as for `noise_rows`.
        network: which one.
    """
    values: dict[tuple, dict[str, dict[int, float]]] = {}
    for result in chosen(results, network=network):
        for trial in result["metrics"]["trainability"]:
            key = (result["head"], trial["loss"], trial["optimiser"], trial["lr"])
            by_seed = values.setdefault(key, {}).setdefault(trial["column"], {})
            by_seed[result["seed"]] = trial["correct"] / trial["images"]
    return [
        dict(zip(("head", "loss", "optimiser", "lr"), key, strict=True))
        | {"seeds": max(len(by_seed) for by_seed in columns.values())}
        | {column: mean_percent(by_seed.values()) for column, by_seed in columns.items()}
        for key, columns in values.items()
    ]


def transfer_rows(
    results: Iterable[Mapping[str, Any]], *, network: str = "ann", evaluation: str = "E1"
) -> list[Row]:
    """Mean accuracy over the eight vectors: a row per network, a column per source of its noise.

    Args:
        results: of `article_transfer`: {"network", "head", "seed", "profile", "metrics"}.
        network: which one.
        evaluation: "E1" or "E2".
    """
    found = chosen(results, network=network)
    heads = [head for head in HEADS if any(result["head"] == head for result in found)]
    rows = []
    for head in heads:
        each = [result["metrics"] for result in found if result["head"] == head]
        row: Row = {"network of": head, "seeds": len(each), CLEAN: None}
        for source in HEADS:
            measured = [
                accuracies(metrics["sources"][source][evaluation], metrics["columns"])
                for metrics in each
                if source in metrics["sources"]
            ]
            if measured:
                row[CLEAN] = mean_percent(values[CLEAN] for values in measured)
            row[f"noise of {source}"] = mean_percent(of_vectors(v, network) for v in measured)
        rows.append(row)
    return rows


def adaptive_rows(
    results: Iterable[Mapping[str, Any]],
    noise: Iterable[Mapping[str, Any]] = (),
    *,
    network: str = "ann",
) -> list[Row]:
    """Pruned networks under the unpruned network's noise (static) and their own (adaptive).

    Args:
        results: of `article_adaptive`: {"network", "head", "seed", "profile", "metrics"}.
        noise: of `article_noise`, for a first row per head: the whole network under its own noise.
        network: which one.

    Returns:
        One row per head and point: `clean`, the mean of the eight vectors for either noise, and
        the share of the static gain over the unpruned network that remains.
    """
    unpruned: dict[str, list[dict[str, float]]] = {}
    for result in chosen(noise, network=network):
        metrics = result["metrics"]
        measured = accuracies(metrics["accuracy"]["G1"]["E1"]["all"], metrics["columns"])
        unpruned.setdefault(result["head"], []).append(measured)
    values: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for result in chosen(results, network=network):
        columns = result["metrics"]["columns"]
        for point in result["metrics"]["points"]:
            both = {kind: accuracies(point[kind], columns) for kind in ("static", "adaptive")}
            found = values.setdefault(result["head"], {}).setdefault(point["point"], [])
            found.append({"sparsity": point["sparsity"], **both})
    rows = []
    for head in dict.fromkeys([*unpruned, *values]):
        own = mean_percent(of_vectors(each, network) for each in unpruned.get(head, ()))
        if own is not None:
            clean = mean_percent(each[CLEAN] for each in unpruned[head])
            row = {"head": head, "point": CLEAN, "seeds": len(unpruned[head]), "sparsity %": 0.0}
            rows.append(row | {"clean": clean, "static": own, "adaptive": own, "gain kept %": None})
        for point, each in values.get(head, {}).items():
            row = {"head": head, "point": point, "seeds": len(each)}
            row["sparsity %"] = mean_percent(found["sparsity"] for found in each)
            row["clean"] = mean_percent(found["static"][CLEAN] for found in each)
            for kind in ("static", "adaptive"):
                row[kind] = mean_percent(of_vectors(found[kind], network) for found in each)
            rows.append(row | {"gain kept %": _kept(row, own)})
    return rows


def rows_markdown(rows: Sequence[Row], *, title: str, note: str) -> str:
    """A titled Markdown table with the profile's note; says so if there is no row."""
    table = markdown_table(rows) if rows else "Not run.\n"
    return f"# {title}\n\n**{note.strip()}**\n\n{table}"


def of_vectors(values: Mapping[str, float], network: str) -> float | None:
    """Mean over the article's eight vectors; None if one is missing."""
    vectors = VECTORS[network]
    return mean(values[v] for v in vectors) if all(v in values for v in vectors) else None


def _kept(row: Row, unpruned: float | None) -> float | None:
    if unpruned is None or row["static"] is None or row["adaptive"] is None:
        return None
    gain = row["static"] - unpruned
    return 100 * (row["adaptive"] - unpruned) / gain if gain > 0 else None


def mean_percent(shares: Iterable[float | None]) -> float | None:
    """Mean of shares in percent; None without any, or with one missing."""
    shares = list(shares)
    return 100 * mean(shares) if shares and None not in shares else None
