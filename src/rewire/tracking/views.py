"""What W&B shows of all runs together, as code: a workspace, and a report that explains it.

Offline both are files beside the runs; online they are created in the project, and the next time
the same ones are brought up to date. Names of numbers are those that the stages log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import wandb

from rewire.errors import InputError
from rewire.files import read_json, write_json
from rewire.tracking.track import environment

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
except ImportError as error:
    raise InputError(
        "wandb-workspaces is missing. Allowed: pip install 'rewire[dashboard]'."
    ) from error

WORKSPACE, REPORT, SAVED = "wandb_workspace.json", "wandb_report.json", "wandb_views.json"
TITLE = "Sparse and robust networks"
STRATEGY, HEAD = wr.Config("rewire.name"), wr.Config("head.name")
ACCURACY, ZERO = "clean/accuracy", "epoch/zero_vectors"  # of a training, after its last epoch
# What a table of runs begins with.
COLUMNS = (
    "config:objective.value.name", "config:sparsity.value", "config:rewire.value.name",
    "config:seed.value", f"summary:{ACCURACY}", f"summary:{ZERO}",
    "summary:trained/clean/accuracy", "summary:trained/robust/accuracy",
    "summary:clean accuracy", "summary:mean accuracy/G1-E1",
)  # fmt: skip
MATRICES = ("structure/trained", "structure/pruned")
PRUNINGS = ("absolute", "activated", "combined")


def panels(trainings: Iterable[str] = ()) -> dict[str, list[Any]]:
    """Heading → panels below it."""
    sweep = {
        "objective.name": "objective", "sparsity": "sparsity", "rewire.name": "re-wiring",
    }  # fmt: skip
    results = {ACCURACY: "accuracy %", ZERO: "zero vectors %"}
    axes: list[tuple[Any, str]] = [(wr.Config(key), name) for key, name in sweep.items()]
    axes += [(wr.SummaryMetric(key), name) for key, name in results.items()]
    curves = {
        "validation_accuracy": "validation accuracy %", "train_loss": "training loss",
        "zero_vectors": "zero vectors %", "births": "growth per epoch", "turnover": "turnover",
    }  # fmt: skip
    return {
        "Sweep": [
            wr.ScatterPlot(
                title="Accuracy against zero vectors: up and right is better",
                x=wr.SummaryMetric(ZERO),
                y=wr.SummaryMetric(ACCURACY),
                z=STRATEGY,
            ),
            wr.ParallelCoordinatesPlot(
                title="What was chosen, and what came out",
                columns=[
                    wr.ParallelCoordinatesPlotColumn(metric=key, display_name=name)
                    for key, name in axes
                ],
            ),
            wr.BarPlot(
                title="Accuracy under attack %",
                metrics=["trained/robust/accuracy"],
                groupby=STRATEGY,
            ),
        ],
        "Trainings by strategy": [
            *(
                wr.LinePlot(
                    title=title, x="epoch/epoch", y=[f"epoch/{name}"], groupby=STRATEGY
                )
                for name, title in curves.items()
            ),
            wr.LinePlot(
                title="Density per layer", x="epoch/epoch", metric_regex="epoch/density_.*"
            ),
        ],
        "Where the weights are": [
            wr.MediaBrowser(title=key, media_keys=[key], mode="gallery") for key in MATRICES
        ],
        "Noise and pruning (the article)": [
            wr.LinePlot(title="Validation accuracy %", y=["train/validation_accuracy"],
                        x="step", groupby=HEAD),
            *(
                wr.LinePlot(
                    title=f"Accuracy under noise, pruned by {name} value",
                    x=f"curves/{name}/ratio",
                    y=[f"curves/{name}/none", f"curves/{name}/noise"],
                    groupby=HEAD,
                )
                for name in PRUNINGS
            ),
        ],
    }  # fmt: skip


def workspace(entity: str, project: str) -> ws.Workspace:
    """The workspace: sections of panels beside the table of runs."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name=TITLE,
        sections=[
            ws.Section(name=name, panels=found, is_open=True) for name, found in panels().items()
        ],
        runset_settings=ws.RunsetSettings(pinned_columns=list(COLUMNS)),
    )


def report(entity: str, project: str, networks: Iterable[str]) -> wr.Report:
    """The report: the same panels with what they show, and the lineage of some networks.

    Args:
        entity, project: where the runs are.
        networks: names of artifacts.
    """
    runs = wr.Runset(
        entity=entity, project=project, name="runs", pinned_columns=["run:displayName", *COLUMNS]
    )
    blocks: list[Any] = [
        wr.TableOfContents(),
        wr.P(
            "Trainings, attacks and structure of sparse networks that re-wire themselves, and of "
            "networks that are pruned under universal noise. Every run is one cell of one stage; "
            "its configuration is what decided its result."
        ),
    ]
    for name, found in panels().items():
        blocks += [wr.H2(name), wr.PanelGrid(runsets=[runs], panels=found)]
    blocks += [wr.H2("Lineage"), wr.P("What each network was made from and what was made of it.")]
    blocks += [
        wr.WeaveBlockArtifact(entity=entity, project=project, artifact=name, tab="lineage")
        for name in networks
    ]
    return wr.Report(entity=entity, project=project, title=TITLE, blocks=blocks, width="fluid")


def networks(cards: Iterable[Mapping[str, str]]) -> list[str]:
    """Artifacts with the weights of the last training of every group, by the cards of the runs."""
    found = {}
    for card in cards:
        if card["job_type"] in ("train", "article_train"):
            cell = card["name"].removesuffix(f"-{card['job_type']}")
            found[card["group"]] = f"weights-{cell}"
    return list(found.values())


def write(folder: Path, cards: Iterable[Mapping[str, str]], *, project: str) -> list[Path]:
    """Write both as JSON, as W&B's server would get them, beside the runs in `folder`."""
    views = (
        (WORKSPACE, workspace("", project)._to_model().spec),
        (REPORT, report("", project, networks(cards))._to_model().spec),
    )
    for name, spec in views:
        write_json(
            folder / name, json.loads(spec.model_dump_json(by_alias=True, exclude_none=True))
        )
    return [folder / name for name, _ in views]


def create(
    folder: Path, cards: Iterable[Mapping[str, str]], *, project: str, entity: str | None
) -> list[str]:
    """Create both online, or bring those up to date that were created from this folder.

    Returns:
        Their addresses.

    Raises:
        InputError: without a key, or if the server refuses.
    """
    with environment("online", folder):
        if not wandb.login(prompt=False, verify=False):
            raise InputError(
                "--wandb=online needs a W&B account: run `wandb login` or set WANDB_API_KEY. "
                "--wandb=offline works without one."
            )
        try:
            return list(_save(folder, cards, project=project, entity=entity))
        except InputError:
            raise
        except Exception as error:  # whatever the client makes of the server's answer
            raise InputError(f"W&B refuses the dashboards: {error}") from error


def _save(
    folder: Path, cards: Iterable[Mapping[str, str]], *, project: str, entity: str | None
) -> Iterator[str]:
    owner = entity or str(wandb.Api().default_entity)
    place = f"{owner}/{project}"
    known = read_json(folder / SAVED) if (folder / SAVED).is_file() else {}
    saved = known.get(place, {})
    board, page = workspace(owner, project), report(owner, project, networks(cards))
    # The client offers no other way to write again what was written by another process.
    board._internal_id, board._internal_name = saved.get("workspace", ("", ""))
    page.id = saved.get("report", "")
    yield page.save().url
    yield board.save().url
    identities = {"workspace": [board._internal_id, board._internal_name], "report": page.id}
    write_json(folder / SAVED, known | {place: identities})
