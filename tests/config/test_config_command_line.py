"""What people type: shown without a traceback, and nothing is written where nobody asked for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.small import ROOT, SMALL, run

from rewire import cli as entry
from rewire.cli import in_order
from rewire.config.command_line import check_arguments, search_path, with_home
from rewire.pipeline.paths import CONF

TRAIN = str(ROOT / "train.py")


def errors(*arguments: str) -> list[str]:
    return check_arguments("train", in_order(list(arguments)), CONF).found.errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help", "seeed=1"], "unknown option 'seeed'. Did you mean 'seed'?"),
        (["-m", "--cfg", "job", "seed=0,1"], "--multirun and --cfg do not go together"),
        (["--info", "--cfg=job"], "--cfg and --info do not go together"),
        (["--resolve"], "--resolve shows nothing by itself. Allowed: --cfg job --resolve"),
        (["-m", "seed=range(0,3),-1"], "has a range among other values. Allowed: a range alone"),
        (["-m", "seed=choice(7,range(0,3))"], "cannot read 'seed=choice(7,range(0,3))'"),
        (["hydra.launcher.engine=print"], "'hydra.launcher.engine' is for sweeps"),
        (["profile.name=paper"], "'profile.name' is not taken"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments, words):
    (error,) = errors(*arguments)
    assert words in error


@pytest.mark.parametrize("argument", ["~output", "output=${nope}", "output=''"])
def test_a_sweep_without_an_output_folder_is_refused(argument):
    assert any(line.startswith("output ") for line in errors("-m", argument))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--help", "seed=1"],
        ["--cfg", "job", "--resolve"],
        ["--info"],
        ["--info", "plugins", "seed=1"],
        ["-m", "seed=range(0,3)"],
        ["-m", "seed=0,1"],
        ["-m", "seed=0,1", "hydra.launcher.engine=print"],
    ],
)
def test_what_makes_sense_is_taken(arguments):
    assert errors(*arguments) == []


def test_an_override_is_no_value_of_info():
    assert in_order(["--info", "output=x"]) == ["--info=all", "output=x"]
    assert in_order(["output=x", "-i"]) == ["--info=all", "output=x"]
    assert in_order(["seed=1", "--info", "plugins"]) == ["--info", "plugins", "seed=1"]


@pytest.mark.parametrize("flags", [["--hydra-help"], ["--info"]])
def test_hydra_s_own_pages_are_shown_whatever_else_is_said(flags, tmp_path):
    done = run(TRAIN, *flags, f"output={tmp_path / 'out'}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["'quoted'", '"quoted"', "${tracking.project}", "${oc.env:FOLDER}", "~/quoted"]
)
@pytest.mark.parametrize("sweep", [True, False])
def test_the_output_folder_is_the_one_that_is_meant(text, sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FOLDER", "quoted")
    monkeypatch.chdir(tmp_path)
    argument = with_home(f"output={text}")
    flags = ["-m"] if sweep else []
    checked = check_arguments("train", [*flags, argument], CONF)
    assert checked.found.errors == []
    meant = {"${tracking.project}": "rewire", "~/quoted": str(tmp_path / "quoted")}
    output = checked.output if sweep else checked.config.output
    assert output == meant.get(text, "quoted")
    if sweep:  # one error before anything is written, and no folder of another name
        with pytest.raises(SystemExit):
            entry.launch("train", ["-m", f"output={text}", "rewire=no"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("home", ["/home/o'hara", "/home/back\\", "/home/o\\'hara", "/a, b/{c}"])
def test_home_is_expanded_in_every_path_and_wherever_it_is_set(home, monkeypatch):
    monkeypatch.setenv("HOME", home)
    arguments = [with_home(a) for a in ("output=~/o", "data.root=~/d", "tracking.folder='~/t'")]
    checked = check_arguments("train", arguments, CONF)
    assert checked.found.errors == []
    config = checked.config
    assert config.output == f"{home}/o"
    assert config.data.root == f"{home}/d"
    assert config.tracking.folder == f"{home}/t"


def test_a_checkout_in_a_folder_with_an_apostrophe(tmp_path):
    clone = tmp_path / "o'hara's" / "rewire"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "conf", clone / "conf")
    shutil.copytree(ROOT / "src", clone / "src", ignore=ignored)
    for name in ("train.py", "stage.py"):
        shutil.copy(ROOT / name, clone)
    where = {"cwd": tmp_path, "env": {"PYTHONPATH": str(clone / "src")}}
    arguments = [*SMALL, "trainer.epochs=1", f"output={tmp_path / 'out'}"]
    done = run(str(clone / "train.py"), "-m", *arguments, "seed=0,1", **where)
    assert done.returncode == 0, done.stderr
    cells = list((tmp_path / "out" / "quick" / "train").iterdir())
    assert len(cells) == 2
    assert search_path(Path("/o'hara/conf")) == r"hydra.searchpath=['file:///o\'hara/conf/shared']"


def test_a_finished_cell_where_nothing_can_be_written_is_found(tmp_path, monkeypatch, capsys):
    arguments = [*SMALL, "trainer.epochs=1", f"output={tmp_path}"]
    done = run(TRAIN, *arguments)
    assert done.returncode == 0, done.stderr

    def read_only(*args, **options):
        raise AssertionError("something was to be written")

    for module in ("rewire.files", "rewire.pipeline.run_cell", "rewire.cli"):
        monkeypatch.setattr(f"{module}.writable_folder", read_only)
    monkeypatch.setattr("rewire.files.atomic_path", read_only)
    entry.launch("train", arguments)
    assert "finished already" in capsys.readouterr().out
