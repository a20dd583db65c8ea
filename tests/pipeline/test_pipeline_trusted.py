"""Results that can be trusted: none replaced, none stale, each with the code that made it."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest
from helpers.small import list_anew, small
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString

from rewire.errors import InputError
from rewire.files import MANIFEST, read_json, sha256, write_json
from rewire.models.artifact import load_network, save_network
from rewire.pipeline import cell as common
from rewire.pipeline import made
from rewire.pipeline.document import WEIGHTS
from rewire.thesis import audit, evaluate, prune, structure, tables, train

CELL = "natural-s0.9-l2-seed0"
STAGES = (train, prune, evaluate, structure)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("outputs")
    for stage in STAGES:
        stage.run(*small(output, "rewire=l2", "trainer.epochs=1"))
    return output


@pytest.fixture
def output(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "outputs")


def run(stage, output, *overrides, told=()):
    """A stage on the small cell; `told` are the overrides that the user has typed."""
    config, _ = small(output, "rewire=l2", "trainer.epochs=1", *overrides, *told)
    stage.run(config, list(told))


def retrained(output, cell=CELL):
    """Another finished network in the place of the trained one."""
    weights = output / "quick" / "train" / cell / WEIGHTS
    model, spec = load_network(weights)
    model.theta.data.mul_(0.5)
    save_network(weights, model, spec=spec)
    list_anew(weights)


def other_code(monkeypatch, **files):
    """As if the package had changed: the hashes of some of its files are others."""
    for module in (common, made):
        real = module.code_of
        monkeypatch.setattr(module, "code_of", lambda name, real=real: real(name) | files)


def content(output):
    return {path: sha256(path) for path in output.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("stage", "change", "words"),
    [
        (train, "trainer.lr=0.05", "trainer.lr was 0.1, is 0.05"),
        (train, "trainer.epochs=2", "trainer.epochs was 1, is 2"),  # as profile.epochs.natural=2
        (evaluate, "attack.steps=3", "attack.steps was 2, is 3"),
    ],
)
def test_a_finished_result_is_not_replaced_by_another_one(output, stage, change, words):
    before = content(output)
    with pytest.raises(InputError, match="holds a finished result of another configuration") as e:
        run(stage, output, change)
    assert words in str(e.value)
    assert "Allowed: arm=NAME for a cell of its own, or force=true" in str(e.value)
    assert content(output) == before
    run(stage, output, change, "force=true")
    assert content(output) != before


def test_where_data_lie_and_how_it_is_computed_make_no_other_result(output, capsys):
    told = ("data.root=elsewhere", "trainer.threads=1", "trainer.checkpoint_every=3")
    before = content(output)
    for stage in STAGES:
        run(stage, output, told=told)
    assert capsys.readouterr().out.count("finished already") == len(STAGES)
    assert content(output) == before


def test_a_named_engine_evaluates_the_network_that_is_there(output, capsys):
    run(evaluate, output, told=("trainer.engine=dense",))
    folder = output / "quick" / "evaluate" / f"{CELL}-trainer.engine=dense"
    assert read_json(folder / "metrics.json")["trained"]["robust"]["total"] == 10
    run(evaluate, output, told=("trainer.engine=sparse",))  # what `auto` takes at this sparsity
    assert f"finished already: {folder.with_name(CELL)} " in capsys.readouterr().out


def test_a_folder_that_an_earlier_version_named_is_found(output, capsys):
    for stage in ("train", "prune"):
        folder = output / "quick" / stage / CELL
        folder.rename(folder.with_name(f"{CELL}-trainer.threads=1"))
    run(train, output, told=("trainer.threads=1",))
    said = capsys.readouterr().out
    assert (
        "has the name of an earlier version; it may be renamed to 'natural-s0.9-l2-seed0'" in said
    )
    assert "finished already" in said
    run(evaluate, output, "force=true")
    assert not (output / "quick" / "train" / CELL).exists()


def test_an_old_network_s_results_are_refused_by_the_next_stage(output):
    retrained(output)
    for stage in (evaluate, structure):
        with pytest.raises(InputError, match=r"prune.*is outdated: it was not made from the train"):
            run(stage, output)
    run(prune, output)
    with pytest.raises(InputError, match=r"evaluate.*is outdated.* Run it again first: (.*)") as e:
        run(audit, output, told=("audit.transfer_from=[]", "seed=0"))
    command = str(e.value).partition("again first: ")[2]
    assert command == f"rewire thesis evaluate 'audit.transfer_from=[]' seed=0 output={output}"
    for stage in (evaluate, structure):
        run(stage, output)


def test_tables_show_no_number_of_an_old_network(output, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "natural-s0.99-l2-seed0"
    for stage in ("train", "prune", "evaluate", "structure"):
        folder = output / "quick" / stage / CELL
        config = folder / "config.yaml"
        config.write_text(config.read_text().replace("sparsity: 0.9\n", "sparsity: 0.99\n"))
        list_anew(config)
        folder.rename(folder.with_name(name))
    (tmp_path / "params.yaml").write_text(
        "thesis: {cells: [natural-s0.99], rewire: [random, l2], seeds: [0]}"
    )

    def pruned_row():
        tables.run(small(output)[0], [])
        table = read_json(output / "tables" / "thesis_table1.json")["cells"]
        row = "about 99 % natural, pruned"
        (cell,) = (c for c in table if (c["row"], c["column"]) == (row, "structured"))
        return cell, (output / "tables" / "thesis_table1.md").read_text()

    cell, _ = pruned_row()
    assert (cell["verdict"], cell["outdated"]) == ("not comparable", [])
    capsys.readouterr()

    retrained(output, name)
    cell, text = pruned_row()
    assert (cell["ours"], cell["verdict"]) == (None, "outdated")
    (command,) = cell["outdated"]
    assert command.startswith("rewire thesis structure profile=quick")
    assert command.endswith(f"output={output}")
    assert f"outdated: run `{command}`" in text
    clean = [c for c in read_json(output / "tables" / "thesis_selection.json")["cells"] if c["n"]]
    assert clean  # what the training says of itself is of this network


def test_a_result_says_that_other_code_made_it_and_stays(output, monkeypatch, capsys):
    before = content(output)
    other_code(monkeypatch, **{"attacks/pgd.py": "changed"})
    run(evaluate, output)
    said = capsys.readouterr().out
    assert "finished already" in said
    assert "made by other code (attacks/pgd.py) (force=true runs it again)" in said
    manifest = output / "quick" / "train" / CELL / MANIFEST
    write_json(manifest, {k: v for k, v in read_json(manifest).items() if k != "code"})
    # a result that was published and restored, or of a version that recorded no code
    provenance = manifest.with_name("provenance.json")
    for commit, words in {
        "0c1d2e3f": "the code of commit 0c1d2e3f",
        None: "code that is not",
    }.items():
        write_json(provenance, read_json(provenance) | {"commit": commit})
        run(train, output)
        assert f"made by {words}" in capsys.readouterr().out
    write_json(manifest, json.loads(json.dumps(read_json(manifest))))
    after = content(output)
    changed = manifest, provenance
    assert {p: h for p, h in after.items() if p not in changed} == {
        p: h for p, h in before.items() if p not in changed
    }
    words = made.remark(output / "quick" / s / CELL for s in ("train", "evaluate", "audit"))
    assert "1 of train by code that is not recorded" in words
    assert "1 of evaluate by other code (attacks/pgd.py)" in words


def test_results_of_several_codes_are_counted_without_naming_them(output, tmp_path):
    folders = [tmp_path / "quick" / "train" / name for name in ("one", "two")]
    for folder, file in zip(folders, ("rng.py", "files.py"), strict=True):
        shutil.copytree(output / "quick" / "train" / CELL, folder)
        manifest = read_json(folder / MANIFEST)
        write_json(folder / MANIFEST, manifest | {"code": manifest["code"] | {file: "other"}})
    assert made.remark(folders[:1]).endswith(": 1 of train by other code (rng.py).")
    assert made.remark(folders).endswith("today's: 2 of train.")


def test_the_command_that_made_a_result_is_recorded_without_places(output):
    told = ("trainer.lr=0.2", "trainer.threads=1", "data.root=x", "seed=3", "force=true")
    run(train, output, told=told)
    folder = output / "quick" / "train" / "natural-s0.9-l2-seed3-trainer.lr=0.2"
    assert read_json(folder / "provenance.json")["arguments"] == ["trainer.lr=0.2", "seed=3"]
    assert made.command_for(folder) == (
        f"rewire thesis train profile=quick trainer.lr=0.2 seed=3 output={output}"
    )
    (folder / "provenance.json").unlink()
    assert made.command_for(folder) == (
        "rewire thesis train profile=quick sparsity=0.9 objective=natural rewire=l2 "
        f"seed=3 output={output}"
    )


PLACES = [
    "/tmp/runs-2.0",
    "runs",
    "a (b)",
    "~/x",
    "/home/jörg/runs",
    "a,b",
    "it's",
    "back\\",
    "\\'\\a",
]


@pytest.mark.parametrize("place", [*PLACES, "7", "1e3", "null", "inf", "[x]", "${y}"])
def test_a_command_names_any_folder_so_that_shell_and_hydra_read_it(place):
    *_, last = shlex.split(made.command("train", ["seed=3"], output=place))
    read = OverridesParser.create().parse_override(last).value()
    assert (read.text if isinstance(read, QuotedString) else read) == place
    assert made.command("train", [], output="/tmp/runs").endswith(" output=/tmp/runs")
