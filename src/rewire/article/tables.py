"""The article, last stage: its table, plots and scored claims from what the stages left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from rewire.article.configuration import Configuration
from rewire.article.document import ARTICLE
from rewire.article.report.best_performance import (
    NETWORK,
    Performance,
    ordering,
    ordering_markdown,
    table1_results,
)
from rewire.article.report.claims import claims_markdown, score_claims
from rewire.article.report.curve_lines import curves_csv
from rewire.article.report.curve_plots import plot_curves
from rewire.article.report.decoupled_rows import decoupled_rows
from rewire.article.report.noise_rows import (
    adaptive_rows,
    noise_numbers,
    noise_rows,
    rows_markdown,
    trainability_rows,
    transfer_rows,
)
from rewire.article.report.pruning_rows import (
    control_rows,
    dead_pixel_rows,
    matched_rows,
    point_rows,
)
from rewire.article.report.published_curves import load_plot
from rewire.article.report.runs import Run, as_run
from rewire.files import MANIFEST, read_json, writable_folder, write_json, write_text
from rewire.pipeline.cell import Cell
from rewire.pipeline.common import Profile
from rewire.pipeline.console import run_by_dvc
from rewire.pipeline.document import METRICS, WEIGHTS
from rewire.pipeline.dvc_views import write_views
from rewire.pipeline.made import command_for, is_current, read_config, remark
from rewire.pipeline.params import PARAMS, read_axes
from rewire.pipeline.paths import CONF
from rewire.pipeline.tracked_tables import track_table, tracked_tables
from rewire.reporting.build_table import build_table, write_table
from rewire.reporting.table_spec import TableSpec, load_spec
from rewire.tracking import Tracker

LISTS = {  # stage → the list of cells in params.yaml
    "article_noise": "cells",
    "article_curves": "pruned",
    "article_adaptive": "pruned",
    "article_transfer": "transfer",
    "article_decoupled": "decoupled",
}
Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""Stage → one entry per finished cell: network, head, seed, profile, metrics, folder."""


def run(config: DictConfig, overrides: list[str]) -> None:
    """Write the article's tables and figures, for the cells in `params.yaml`."""
    asked: Configuration = Cell.of("article_tables", config, overrides).config
    profile, output = asked.profile, Path(asked.output)
    axes = read_axes(PARAMS, "article", (*dict.fromkeys(LISTS.values()), "seeds"))
    writable_folder(output / "tables")
    base = output / profile.name
    found = {
        stage: list(collect(base / stage, axes[listing], axes["seeds"], profile.name))
        for stage, listing in LISTS.items()
    }
    results, outdated = sorted_out(found)
    for result in outdated:
        print(f"outdated and left out: {result['folder']}: run {result['outdated']}")
    said = remark(result["folder"] for each in results.values() for result in each)
    if said:
        print(said.strip())
        profile = profile.noting(said)
    if outdated:
        again = "; ".join(result["outdated"] for result in outdated)
        profile = profile.noting(f" Outdated, hence left out: run {again}.")
    runs = runs_of(results)
    with tracked_tables(asked, axes, document="article", stage="article_tables") as tracker:
        write_tables(results, runs, output / "tables", profile, tracker, outdated=outdated)
        draw(runs, output / "figures", profile.note, tracker)
    listed = [f"{cell}-seed{seed}" for cell in axes["cells"] for seed in axes["seeds"]]
    measured = {r["folder"].name: noise_numbers(r) for r in results["article_noise"]}
    rows = {cell: measured.get(cell, {}) for cell in listed}
    write_views(output, ARTICLE, rows=rows, trainings=base / "article_train")
    print(f"wrote {output / 'tables'} and {output / 'figures'}")


def collect(
    folder: Path, cells: Sequence[str], seeds: Sequence[int], profile: str
) -> Iterator[dict[str, Any]]:
    """One entry per finished cell of a stage; what was not run, the tables say.

    `outdated` is the command that makes it anew if it is of another network than is there.
    """
    for cell in cells:
        for seed in seeds:
            found = folder / f"{cell}-seed{seed}"
            if not (found / METRICS).is_file():
                continue
            config = yaml.safe_load((found / "config.yaml").read_text(encoding="utf-8"))
            yield {
                "network": config["network"]["name"],
                "head": config["head"]["name"],
                "seed": seed,
                "profile": profile,
                "metrics": read_json(found / METRICS),
                "folder": found,
                "outdated": None if is_of_what_is_there(found) else command_for(found),
            }


def is_of_what_is_there(folder: Path) -> bool:
    """Whether a result, and what it was made from, was made from the networks that are there."""
    base, cell, config = folder.parents[1], folder.name, read_config(folder)
    files: dict[str, Path] = {}
    for name in config.get("inputs") or {}:
        stage, _, head = name.partition(" of ")
        other = f"{config['network']['name']}-{head}-seed{config['seed']}" if head else cell
        files[name] = base / stage / other / (WEIGHTS if stage == "article_train" else MANIFEST)
    noise = [path.parent for path in files.values() if path.name == MANIFEST]
    return is_current(folder, files) and all(map(is_of_what_is_there, noise))


def sorted_out(found: Results) -> tuple[Results, list[Mapping[str, Any]]]:
    """What is of the networks that are there, and what is outdated."""
    results = {stage: [r for r in each if not r["outdated"]] for stage, each in found.items()}
    return results, [result for each in found.values() for result in each if result["outdated"]]


def runs_of(results: Results) -> list[Run]:
    """What `article_curves` measured, with the curves that it wrote beside its metrics."""

    def text(result: Mapping[str, Any]) -> str:
        return (result["folder"] / "curves.csv").read_text(encoding="utf-8")

    return [
        as_run({**r, "points": r["metrics"], "curves": text(r)}) for r in results["article_curves"]
    ]


def scored(results: Results, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The article's claims on these results."""
    return score_claims(
        {"runs": runs, "noise": results["article_noise"], "decoupled": results["article_decoupled"]}
    )


def write_tables(
    results: Results,
    runs: Sequence[Run],
    folder: Path,
    profile: Profile,
    tracker: Tracker,
    *,
    outdated: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Table 1, the order of the prunings, the claims, and what the article lacks."""
    note = profile.note
    spec = load_spec(CONF / "article" / "table" / "article_table1.yaml")
    table = build_table(
        spec,
        [*table1_results(runs), *outdated_results(spec, outdated)],
        profile=profile.name,
        note=note,
    )
    paths = write_table(table, folder)
    if not run_by_dvc():
        print("\n" + paths[0].read_text())
    track_table(table, tracker)

    order = ordering(runs)
    write(folder, "article_ordering", order, ordering_markdown(order, note=note))
    claims = scored(results, runs)
    write(folder, "article_claims", claims, claims_markdown(claims, note=note))
    for claim in () if run_by_dvc() else claims:
        print(f"({claim['claim']}) {claim['verdict']:<13} {claim['text']}")
    shown = ["claim", "verdict", "text", "numbers"]
    tracker.table("article_claims", shown, [[claim[key] for key in shown] for claim in claims])

    for name, (title, rows) in further(results, runs).items():
        write(folder, name, rows, rows_markdown(rows, title=title, note=note))
        if rows:
            keys = list(dict.fromkeys(key for row in rows for key in row))
            tracker.table(name, keys, [[row.get(key) for key in keys] for row in rows])


def outdated_results(
    spec: TableSpec, outdated: Sequence[Mapping[str, Any]]
) -> Iterator[Performance]:
    """Results without a number for the cells of Table 1 whose pruning curves are outdated."""
    curves = [r for r in outdated if r["folder"].parent.name == "article_curves"]
    selectors = {tuple(sorted(row.selector.items())): row.metric for row in spec.rows}
    for result in (r for r in curves if r["network"] == NETWORK):
        for selector, metric in selectors.items():
            if dict(selector)["head"] != result["head"]:
                continue
            cell = {**dict(selector), "seed": result["seed"], "profile": result["profile"]}
            again = {metric.partition(".")[0]: result["outdated"]}
            for column in spec.columns:
                yield Performance(**cell | {spec.axis: column}, metrics={}, outdated=again)


def further(results: Results, runs: Sequence[Run]) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Tables that the article lacks: file name → (title, rows)."""
    noise, moved = results["article_noise"], results["article_adaptive"]
    networks = ("ann", "cnn")
    return {
        f"article_{name}": (title, rows)
        for name, title, rows in (
            *(
                (
                    f"noise_{network}",
                    f"Unpruned {network} under noise made (G1 as coded, G2 clipped once) and "
                    "judged (E1 unclipped, E2 clipped) both ways",
                    noise_rows(noise, network=network),
                )
                for network in networks
            ),
            *(
                (
                    f"trainability_{network}",
                    f"Can noise be trained through the network's own loss? ({network})",
                    trainability_rows(noise, network=network),
                )
                for network in networks
            ),
            *(
                (
                    f"transfer_{evaluation}",
                    f"Noise of one head on the network of another, {evaluation}",
                    transfer_rows(results["article_transfer"], evaluation=evaluation),
                )
                for evaluation in ("E1", "E2")
            ),
            *(
                (
                    f"adaptive_{network}",
                    f"Pruned {network} under the noise of the unpruned one and under its own",
                    adaptive_rows(moved, noise, network=network),
                )
                for network in networks
            ),
            ("controls", "Controls at equal ratios", control_rows(runs)),
            ("matched", "At matched clean accuracy", matched_rows(runs)),
            ("dead_pixels", "Pixels that are black in the sample", dead_pixel_rows(runs)),
            *(
                (
                    f"points_{network}",
                    f"Configured points of the {network}",
                    point_rows(runs, network=network, points=("none", "layers")),
                )
                for network in networks
            ),
            (
                "decoupled",
                "Decoupled convolutions: every spatial copy of a weight pruned by itself",
                decoupled_rows(results["article_decoupled"]),
            ),
        )
    }


def write(folder: Path, name: str, value: Any, text: str) -> None:
    """NAME.md and NAME.json."""
    write_text(folder / f"{name}.md", text)
    write_json(folder / f"{name}.json", value)


def draw(runs: Sequence[Run], folder: Path, note: str, tracker: Tracker) -> None:
    """The article's nine plots as PNG and CSV, published points drawn in; RQ where it was run."""
    heads = sorted({run.head for run in runs})
    for path in sorted((CONF / "article" / "published").glob("*.yaml")):
        plot = load_plot(path)
        for head in heads:
            if not any(run.network == plot.network and run.head == head for run in runs):
                continue
            name = f"article_{path.stem}" + ("" if head == "lq" else f"_{head}")
            pixels = plot_curves(plot, runs, folder / f"{name}.png", note=note, head=head)
            write_text(folder / f"{name}.csv", curves_csv(plot, runs, head=head))
            tracker.image(name, pixels)
