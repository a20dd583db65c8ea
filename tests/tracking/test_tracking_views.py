"""W&B's workspace and report as code, and its sweeps: files offline, and what arrives online."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from helpers.article_oracle import ANN
from helpers.article_oracle import small as small_article
from helpers.small import ROOT, small
from helpers.wandb_server import ENTITY, serving

from rewire.article import curves as article_curves
from rewire.article import noise as article_noise
from rewire.article import train as article_train
from rewire.config.command_line import check_arguments
from rewire.pipeline import run_cell
from rewire.pipeline.paths import CONF
from rewire.thesis import evaluate, prune, structure, train
from rewire.tracking import dashboard, track, views
from rewire.tracking.tracker import NullTracker, flatten

CARDS = [
    {"name": f"{cell}-{stage}", "group": group, "job_type": stage, "state": "finished"}
    for group, cell, stage in (
        ("natural-s0.99", "natural-s0.99-l2-seed0", "train"),
        ("natural-s0.99", "natural-s0.99-l2-seed0", "evaluate"),
        ("ann-lq", "ann-lq-seed0", "article_train"),
    )
]
NETWORKS = ["weights-natural-s0.99-l2-seed0", "weights-ann-lq-seed0"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A tracking folder with the cards of these runs."""
    folder = tmp_path / "wandb"
    for number, card in enumerate(CARDS):
        run = folder / f"offline-run-2026010{number}_000000-a{number}"
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def server(monkeypatch, tmp_path) -> Iterator:
    with serving() as (address, notes):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
        yield notes


class NotingTracker(NullTracker):
    """Keeps the names of all that it is told."""

    def __init__(self, config) -> None:
        self.config, self.names = flatten(config), set()

    def log(self, metrics, *, step):
        self.names |= {*metrics, "step"}

    def summary(self, metrics):
        self.names |= set(flatten(metrics))

    def image(self, name, image, *, step=None):
        self.names.add(name)


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """(names of what the stages log, names of their configurations), of small cells."""
    output, runs = tmp_path_factory.mktemp("outputs"), []

    @contextmanager
    def noting(mode, *, config, **_):
        runs.append(NotingTracker(config))
        yield runs[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_cell, "track", noting)
        for stage in (train, prune, evaluate, structure):
            stage.run(*small(output, "rewire=l2"))
        for stage in (article_train, article_noise, article_curves):
            stage.run(*small_article(output, *ANN))
    return set.union(*(run.names for run in runs)), set.union(*(set(run.config) for run in runs))


def texts(value) -> Iterator[str]:
    """Every text in a tree of JSON values."""
    if isinstance(value, dict):
        yield from itertools.chain(value, *map(texts, value.values()))
    elif isinstance(value, list):
        yield from itertools.chain(*map(texts, value))
    elif isinstance(value, str):
        yield value


def drawn(spec) -> Iterator[tuple[str, dict]]:
    """(kind, configuration) of every panel."""
    if isinstance(spec, dict):
        if "viewType" in spec:
            yield spec["viewType"], spec["config"]
        spec = list(spec.values())
    for value in spec if isinstance(spec, list) else []:
        yield from drawn(value)


def test_offline_both_are_files_beside_the_runs(folder, capsys):
    dashboard.main([str(folder), "--wandb"])
    said = capsys.readouterr().out.splitlines()
    paths = [folder / name for name in (views.WORKSPACE, views.REPORT)]
    assert said == [f"wrote {path}" for path in paths]
    workspace, report = (json.loads(path.read_text()) for path in paths)
    for spec in (workspace, report):
        kinds = [kind for kind, _ in drawn(spec)]
        assert kinds.count("Scatter Plot") == 1
        assert kinds.count("Media Browser") == 2
        assert kinds.count("Run History Line Plot") >= 8
        assert "summary:epoch/zero_vectors" in set(texts(spec))
    assert {"lineage", *NETWORKS} <= set(re.findall(r"[\w.-]+", " ".join(texts(report))))


def test_every_name_in_them_is_one_that_the_stages_log(logged):
    numbers, options = logged
    for column in views.COLUMNS:
        kind, _, name = column.partition(":")
        known = options if kind == "config" else numbers
        assert name.replace(".value", "", 1).replace(".", "/") in known, column
    named = set()
    for panel in itertools.chain(*views.panels().values()):
        model = panel._to_model().model_dump(by_alias=True, exclude_none=True)["config"]
        if "metricRegex" in model:
            pattern = re.compile(model["metricRegex"])
            assert any(pattern.fullmatch(name) for name in numbers), pattern
        for text in map(str, texts(model)):
            kind, _, name = text.rpartition(":")
            if kind == "config" or text.count(".value"):
                assert name.replace(".value", "", 1).replace(".", "/") in options, text
            elif kind == "summary" or re.fullmatch(r"[a-z_]+/[\w/]+", text):
                named.add(name)
    assert named <= numbers
    assert len(named) > 15


def test_online_they_arrive_once_and_are_brought_up_to_date_afterwards(folder, server, capsys):
    for _ in range(2):
        dashboard.main([str(folder), "--wandb=online", "--project=p"])
    said = capsys.readouterr().out.splitlines()
    assert [line.partition("//")[0] for line in said] == ["created http:"] * 4
    assert f"/{ENTITY}/p/reports/" in said[0]
    assert said[:2] == said[2:]
    report, workspace, *again = server.views
    assert [view["type"] for view in server.views] == ["runs", "project-view"] * 2
    assert {(v["entityName"], v["projectName"]) for v in server.views} == {(ENTITY, "p")}
    assert [view.get("id") for view in server.views] == [None, None, "view1", "view2"]
    assert again[1]["name"] == workspace["name"]
    here = views.write(folder, CARDS, project="p")
    for view, path in zip((workspace, report), here, strict=True):
        sent, written = json.loads(view["spec"]), json.loads(path.read_text())
        assert list(drawn(sent)) == list(drawn(written))
    assert all(name in report["spec"] for name in NETWORKS)


def test_without_a_key_or_where_the_server_refuses_it_is_one_line(
    folder, server, monkeypatch, capsys
):
    server.refuses = "permission denied"
    with pytest.raises(SystemExit) as stopped:
        dashboard.main([str(folder), "--wandb=online"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "W&B refuses the dashboards: " in said
    assert "permission denied" in said
    assert not (folder / views.SAVED).exists()
    code = "from rewire.tracking import dashboard; import sys; dashboard.main(sys.argv[1:])"
    clean = {k: v for k, v in os.environ.items() if k != "WANDB_API_KEY"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), "--wandb=online"],
        env=clean | {"PYTHONPATH": str(ROOT / "src"), "HOME": str(folder), "NETRC": os.devnull},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--wandb=online needs a W&B account" in done.stderr


def test_without_the_library_it_is_one_line_that_says_how_to_get_it(folder, monkeypatch, capsys):
    for name in [n for n in sys.modules if n.startswith("wandb_workspaces")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "rewire.tracking.views")
    monkeypatch.delattr("rewire.tracking.views")
    with pytest.raises(SystemExit) as stopped:
        dashboard.main([str(folder), "--wandb"])
    assert stopped.value.code == 2
    assert "pip install 'rewire[dashboard]'" in capsys.readouterr().err


def agent_commands() -> list[list[str]]:
    """The commands that W&B's agent makes of the sweep's file."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load((CONF / "wandb" / "sweep.yaml").read_text())
    assert sweep["method"] == "grid"
    names, lists = zip(*((n, p["values"]) for n, p in sweep["parameters"].items()), strict=True)
    commands = []
    for values in itertools.product(*lists):
        chosen = {n: {"value": v} for n, v in zip(names, values, strict=True)}
        words = create_sweep_command_args({"args": chosen})
        words |= {"env": [], "interpreter": ["python"], "program": [sweep["program"]]}
        command = create_sweep_command(sweep["command"])
        commands.append(
            [part for w in command for part in (words[w[2:-1]] if w.startswith("${") else [w])]
        )
    return commands


def test_a_sweep_of_wandb_runs_the_same_trainings():
    commands = agent_commands()
    assert len(commands) == 6
    assert commands[0][:3] == ["python", "train.py", "tracking=online"]
    for command in commands:
        found = check_arguments("train", command[2:], CONF)
        assert found.found.errors == []
    cells = {tuple(sorted(command[3:])) for command in commands}
    assert ("rewire=l2", "sparsity=0.95") in cells


def test_in_a_sweep_the_run_is_the_agent_s_and_its_configuration_its_own(tmp_path):
    """What an agent sets; W&B would put `rewire: l2` in the place of the strategy's options."""
    values = tmp_path / "config.yaml"
    values.write_text("wandb_version: 1\nrewire: {value: l2}\n")
    code = (
        "from rewire.tracking import track\n"
        f"with track('offline', project='p', group='g', job_type='train', name='n', tags=[],\n"
        f"           config={{'rewire': {{'name': 'l2'}}}}, folder={str(tmp_path)!r}) as tracker:\n"
        "    print(tracker._run.id, tracker._run.sweep_id, tracker._run.config['rewire'])\n"
    )
    agent = {"WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "run1", "WANDB_SWEEP_PARAM_PATH": values}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")} | {k: str(v) for k, v in agent.items()},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split(maxsplit=2) == ["run1", "sweep1", "{'name': 'l2'}\n"], done.stderr


@pytest.mark.parametrize("wanted", [True, False])
def test_system_metrics_are_recorded_where_they_are_wanted(wanted, tmp_path):
    run = {"project": "p", "group": "g", "job_type": "train", "name": "n", "tags": []}
    with track("offline", **run, config={}, folder=tmp_path, system_metrics=wanted) as tracker:
        assert tracker._run.settings.x_disable_stats is not wanted


def test_the_configuration_switches_them(tmp_path, monkeypatch):
    asked = []

    @contextmanager
    def noting(mode, *, system_metrics, **_):
        asked.append(system_metrics)
        yield NullTracker()

    monkeypatch.setattr(run_cell, "track", noting)
    train.run(*small(tmp_path, "tracking.system_metrics=true"))
    assert asked == [True]
