"""A report of chosen numbers, made by the functions that make the real one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from helpers.toys_article import PLOTS, published, published_run
from helpers.toys_results import Toy

from rewire.article.report.best_performance import Performance, ordering, table1_results
from rewire.article.report.charts import article_training, curves_gallery
from rewire.article.report.claims import score_claims
from rewire.article.report.findings import article_findings
from rewire.evaluation.findings import Checks, EpsilonSweep, Flag, RestartSweep, StepSweep
from rewire.evaluation.statistics import Accuracy
from rewire.reporting.html import model
from rewire.reporting.html.findings import tone
from rewire.reporting.html.tables import Location, TableView, table_view
from rewire.reporting.table_spec import load_spec
from rewire.thesis.metrics import Examination
from rewire.thesis.prunings import rows_of
from rewire.thesis.report.charts import pruning_gallery, sanity_gallery, training_gallery
from rewire.thesis.report.findings import thesis_findings
from rewire.thesis.report.matrices import pack_layers
from rewire.thesis.report.paired_rows import Comparison, paired_rows
from rewire.thesis.report.paired_table import shown
from rewire.thesis.report.pruning_figure import AS_TRAINED, Pruned

CONF = Path(__file__).parents[2] / "conf"
NOTE = "Quick profile: few images. Not comparable with the published numbers."
STRATEGIES = ("random", "l2", "weighted")
TRICKY = 'a doubt about </script><b> & "quotes"'
PRUNINGS = [
    Pruned("natural-s0.99-l2-seed0", AS_TRAINED, AS_TRAINED, 0, 1000, 7.5, 84.5),
    Pruned("natural-s0.99-l2-seed0", "lonely", "lonely", 40, 960, 19.25, 58.5),
    Pruned(
        "natural-s0.99-l2-seed0", "lonely, inner layers", "lonely, inner layers", 38, 962, 19.2, 60
    ),
    Pruned("natural-s0.99-l2-seed0", "poorest 0.3", "poorest", 90, 910, 30.0, 41.0),
    Pruned("natural-s0.99-l2-seed0", "poorest 0.5", "poorest", 300, 700, 50.0, 22.0),
    Pruned("natural-s0.99-random-seed0", AS_TRAINED, AS_TRAINED, 0, 1000, 2.0, 84.0),
    Pruned("natural-s0.99-random-seed0", "lonely", "lonely", 60, 940, 9.5, 76.0),
]
PNG = bytes.fromhex("89504e470d0a1a0a")


def result(rewire: str, *, sparsity: float, objective: str, variant: str, correct: int) -> Toy:
    """One result of the thesis as stage `tables` collects them."""
    place = STRATEGIES.index(rewire)
    return Toy(
        folder=f"{objective}-s{sparsity}-{rewire}-seed0",
        sparsity=sparsity,
        objective=objective,
        variant=variant,
        rewire=rewire,
        profile="quick",
        flags=[Flag(name="noise", reason="noise fools more")] if rewire == "l2" else None,
        metrics={
            "clean": Accuracy.counted(correct, 1000),
            "robust": Accuracy.counted(12 + place, 100),
            "structure": {"zero_vectors": {"percent": 2.5 * (place + 1) - 0.0625}},
        },
    )


def results() -> list[Toy]:
    return [
        result(rewire, sparsity=s, objective=o, variant=v, correct=301 + 7 * i + 100 * (s < 0.99))
        for i, rewire in enumerate(STRATEGIES)
        for s, o in ((0.99, "natural"), (0.95, "natural"), (0.95, "trades"))
        for v in ("trained", "pruned")
    ]


def locate(found: Toy, metric: str) -> Location:
    return Location(
        cell=found.folder,
        file=f"quick/evaluate/{found.folder}/metrics.json",
        place=f"{found.variant}.{metric}",
        commands=(f"rewire thesis evaluate rewire={found.rewire}",),
        commit="0123456789ab",
        doubts=(TRICKY,) if found.rewire == "weighted" else (),
    )


def view(name: str) -> TableView:
    spec = load_spec(CONF / "thesis" / "table" / f"{name}.yaml")
    return table_view(spec, results(), profile="quick", note=NOTE, locate=locate)


def network(seed: int) -> dict[str, np.ndarray]:
    """Weights of two layers, one wide, one square, a tenth of them connected."""
    random = np.random.default_rng(seed)
    shapes = {"conv1": (8, 3, 3, 6), "dense1": (16, 96), "dense2": (16, 16)}
    return {
        name: random.normal(size=shape) * (random.random(shape) < 0.1)
        for name, shape in shapes.items()
    }


def history(seed: int) -> list[dict[str, float]]:
    return [
        {
            "epoch": float(epoch),
            "test_accuracy": 20.0 * epoch + seed,
            "validation_accuracy": 19.0 * epoch + seed,
            "zero_vectors": 10.0 - epoch + seed,
            "births": 1000.0 / epoch,
            "density_conv1": 0.5 / epoch,
            "density_dense1": 0.01 * epoch,
        }
        for epoch in (1, 2, 3)
    ]


def audit(**changes) -> Examination:
    sweep = {"correct": [16, 7, 0], "images": 50}
    checks = Checks(
        epsilon_sweep=EpsilonSweep(**sweep, epsilons=[0, 8, 64], steps=10),
        step_sweep=StepSweep(**sweep, steps=[5, 10, 20], reported=7),
        restart_sweep=RestartSweep(**sweep, restarts=[1, 2, 4]),
    )
    found = {"images": 50, "attack": {}, "clean": 16, "robust": 7, "checks": checks, "flags": []}
    return Examination(**found | changes)


def thesis() -> model.Thesis:
    random = np.random.default_rng(0)
    pairs = paired_rows(
        [
            Comparison(
                cell="natural-s0.99",
                variant="trained",
                measure="robust",
                strategy=strategy,
                baseline="random",
                seeds=[0],
                correct=random.random((1, 60)) < 0.4,
                baseline_correct=random.random((1, 60)) < 0.4,
            )
            for strategy in STRATEGIES[1:]
        ],
        draws=100,
    )
    tables = tuple(view(f"thesis_table{number}") for number in (1, 2, 3))
    audits = {strategy: audit() for strategy in STRATEGIES}
    trainings = ("natural-s0.99", "natural-s0.95")
    return model.Thesis(
        note=NOTE,
        findings=thesis_findings(
            {each.table.spec.name: each.table for each in tables}, pairs, list(audits.values())
        ),
        tables=tables,
        further=(),
        paired=model.RowsView("thesis_paired", "Pairs", tuple(shown(row) for row in pairs)),
        matrices=tuple(
            model.Matrices(training, strategy, pack_layers(network(10 * i + j)))
            for i, training in enumerate(trainings)
            for j, strategy in enumerate(STRATEGIES)
        ),
        figures=(
            model.Figure("figures 3-5", "natural-s0.99", "dense2"),
            model.Figure("figures 6-8", "natural-s0.95", "dense1"),
        ),
        left_out="",
        training=training_gallery(
            {
                training: {name: [history(i)] for i, name in enumerate(STRATEGIES)}
                for training in trainings
            }
        ),
        pruning=pruning_gallery(PRUNINGS),
        ways=model.RowsView("thesis_prunings", "Ways of pruning", tuple(rows_of(PRUNINGS))),
        sanity=sanity_gallery({"trades-s0.95": audits}),
        checks=model.RowsView("checks", "Checks", ({"cell": "a", "flags": "none"},)),
        cells=model.RowsView(
            "cells",
            "All cells",
            (
                {"cell": "b", "clean %": 9.5, "robust %": 1.5},
                {"cell": "a", "clean %": 10.25},
                {"cell": "c", "clean %": None, "connected": 13805},
            ),
        ),
    )


def sweep() -> model.Report:
    """What a sweep of natural trainings leaves: some cells of some tables, and no examination."""
    whole = thesis()
    some = [found for found in results() if found.objective == "natural"]
    spec = whole.tables[1].table.spec
    return report(
        article=None,
        warnings=(),
        thesis=replace(
            whole,
            tables=(table_view(spec, some, profile="quick", note=NOTE, locate=locate),),
            findings=(),
            sanity=sanity_gallery({}),
            checks=model.RowsView("checks", "Checks", ()),
        ),
    )


def article() -> model.Article:
    runs = [published_run(network, profile="quick") for network in ("ann", "cnn")]
    spec = load_spec(CONF / "article" / "table" / "article_table1.yaml")

    def place(found: Performance, metric: str) -> Location:
        return Location(f"ann-{found.head}-seed0", "metrics.json", found.pruning)

    found = list(table1_results(runs))
    whole = [one for one in found if one.pruning == "none"]
    methods = ("absolute", "activated", "combined")
    found += [replace(one, pruning=method) for one in whole for method in methods]
    found += [replace(one, head="rq") for one in found]  # more rows than are shown at once
    table = table_view(spec, found, profile="quick", note=NOTE, locate=place)
    claims = score_claims(runs=runs)
    return model.Article(
        note=NOTE,
        findings=article_findings(table.table, ordering(runs), claims, ()),
        table=table,
        claims=tuple(
            model.Claim(
                letter=claim.claim,
                numbers=tuple(claim.numbers.split("\n")),
                tone=tone(claim.verdict),
                **claim.model_dump(include={"text", "verdict", "seeds", "criterion", "published"}),
            )
            for claim in claims
        ),
        curves=curves_gallery([published(path) for path in PLOTS], runs),
        training=article_training(
            {"ann-lq": [[{"step": 100.0, "validation_accuracy": 90.0, "train_loss": 0.1}]]}
        ),
        further=(
            model.RowsView("article_matched", "At matched accuracy", ({"head": "lq", "x": 1.5},)),
        ),
        pictures=(model.Picture("noise", PNG),),
    )


def report(**changes) -> model.Report:
    whole = model.Report(
        profile="quick",
        source="outputs/quick",
        thesis=thesis(),
        article=article(),
        runs=(model.StageRun("train", 12, 0.5, ("0123456789ab",), ("CPU, 1 thread per cell",)),),
        versions=("torch 2.13.0",),
        warnings=(TRICKY,),
    )
    return replace(whole, **changes)
