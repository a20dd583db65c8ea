"""Stage `audit` on a small network: what it reads, keeps, refuses, and hands to the tables."""

from __future__ import annotations

import json
import shutil

import pytest
from helpers.small import small

from rewire.config.command_line import check_arguments
from rewire.errors import InputError
from rewire.evaluation import audit_attacks
from rewire.evaluation.ledger import load_ledger, save_ledger
from rewire.files import sha256, write_json
from rewire.pipeline.paths import CONF
from rewire.thesis import audit, evaluate, prune, tables, train

CELL, SOURCE = "natural-s0.9-l2-seed0", "natural-s0.9-random-seed0"
FEW = (
    "audit.images=8", "audit.steps=2", "audit.step_sweep=[1,3]", "audit.noise_draws=2",
    "audit.epsilons=[0,8,64]", "audit.straight_through.leaks=[0.5]",
)  # fmt: skip
CHECKS = [
    "epsilon_sweep", "step_sweep", "restart_sweep", "random_noise", "input_gradients",
    "straight_through", "transfer",
]  # fmt: skip


class Killed(BaseException):
    """Stops a stage where a kill would, past every `except Exception`."""


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    output = tmp_path_factory.mktemp("networks")
    for stage in (train, prune, evaluate):
        stage.run(*small(output, "rewire=l2"))
    train.run(*small(output, "rewire=random"))
    return output


@pytest.fixture
def output(networks, tmp_path):
    return shutil.copytree(networks, tmp_path / "outputs")


def run(output, *overrides):
    audit.run(*small(output, "rewire=l2", *FEW, *overrides))


def folder(output):
    return output / "quick" / "audit" / CELL


def metrics(output):
    return json.loads((folder(output) / "metrics.json").read_text())


def test_all_checks_are_there_and_agree_with_the_ledger(output, capsys):
    run(output)
    found = metrics(output)
    assert list(found["checks"]) == CHECKS
    ledger = load_ledger(output / "quick" / "evaluate" / CELL / "trained.npz")
    assert sorted(ledger["labels"]) == list(range(10))  # one of a class: the first 8 are balanced
    rows = slice(8)
    assert found["images"] == 8
    assert found["clean"] == ledger["clean_correct"][rows].sum()
    assert found["robust"] == ledger["robust_correct"][rows].sum()
    sweep = found["checks"]["epsilon_sweep"]
    assert sweep["correct"][0] == found["clean"]
    assert len(sweep["correct"]) == len(sweep["epsilons"])
    assert found["checks"]["restart_sweep"]["correct"][-1] == found["robust"]
    assert found["checks"]["transfer"]["source"] == SOURCE
    assert found["checks"]["step_sweep"]["steps"] == [1, 3]
    assert "zero radius" not in [flag["name"] for flag in found["flags"]]
    assert (folder(output) / "curves.png").stat().st_size > 5000
    said = capsys.readouterr().out
    assert f"7 checks on 8 images: {len(found['flags'])} flags" in said
    for flag in found["flags"]:
        assert f"flag: {flag['name']}: {flag['reason']}" in said


def test_a_finished_cell_is_left_alone_and_a_forced_one_has_the_same_bytes(output, capsys):
    run(output)
    files = ("metrics.json", "curves.png", "config.yaml", "manifest.json")
    before = [sha256(folder(output) / name) for name in files]
    run(output)
    assert "finished already" in capsys.readouterr().out
    run(output, "force=true")
    assert before == [sha256(folder(output) / name) for name in files]


def test_a_killed_stage_goes_on_behind_its_last_check(output, monkeypatch):
    run(output)
    whole = metrics(output)
    shutil.rmtree(folder(output))

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(audit_attacks, "random_noise", killed)
        with pytest.raises(Killed):
            run(output)
    with monkeypatch.context() as patch:
        patch.setattr(audit.audit, "epsilon_sweep", killed)  # must not be asked again
        run(output)
    assert metrics(output) == whole


def test_options_of_speed_are_no_other_attack(output):
    run(output, "attack.batch_size=3", "attack.check_every=2")
    slow = metrics(output)
    run(output, "force=true")
    assert {**metrics(output), "attack": None} == {**slow, "attack": None}


def test_autoattack_takes_part_if_it_has_images(output):
    short = "audit.autoattack={images: 4, steps: 2, queries: 2}"
    run(output, short, "audit.transfer_from=[]")
    found = metrics(output)["checks"]
    assert list(found) == [*CHECKS[:-1], "autoattack"]
    assert found["autoattack"]["images"] == 4
    assert found["autoattack"]["correct"] <= found["autoattack"]["reported"]


def test_another_seed_or_nobody_can_be_the_source(output):
    run(output, "audit.transfer_from=[]")
    assert "transfer" not in metrics(output)["checks"]
    with pytest.raises(InputError, match=r"natural-s0\.9-l2-seed5.*rewire thesis train"):
        run(output, "audit.transfer_seed=5")
    shutil.copytree(
        output / "quick" / "train" / SOURCE, output / "quick" / "train" / "natural-s0.9-l2-seed5"
    )
    run(output, "audit.transfer_seed=5", "force=true")
    assert metrics(output)["checks"]["transfer"]["source"] == "natural-s0.9-l2-seed5"


def test_what_is_missing_or_does_not_fit_is_refused_and_leaves_nothing(output):
    train_folder = output / "quick" / "train"
    with pytest.raises(InputError, match="of another attack than the configured one"):
        run(output, "attack.steps=3")
    shutil.move(train_folder / SOURCE, train_folder / "away")
    with pytest.raises(InputError, match=r"no network to transfer from.*rewire=random"):
        run(output)
    shutil.move(train_folder / "away", train_folder / SOURCE)
    (output / "quick" / "evaluate" / CELL / "trained.npz").unlink()
    with pytest.raises(InputError, match="missing ledger"):
        run(output)
    assert not folder(output).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["attack=autoattack"], "attack.name is 'autoattack'. Allowed for the stage audit: pgd"),
        (["audit.epsilons=[4,2]"], "audit.epsilons is [4, 2]. Allowed: rising numbers"),
        (["audit.step_sweep=[5,5]"], "audit.step_sweep is [5, 5]. Allowed: rising numbers"),
        (["audit.images=0"], "audit.images is 0. Allowed: a whole number from 1, or null"),
        (["audit.epsilons=[]"], "audit.epsilons is []"),
        (["audit.straight_through.leaks=[0]"], "audit.straight_through.leaks is [0]"),
        (["audit.stepps=3"], "Did you mean 'audit.steps'"),
    ],
)
def test_mistakes_are_told_before_any_work(arguments, words):
    (line,) = check_arguments("audit", arguments, CONF).found.errors
    assert words in line


def test_the_examination_of_no_other_stage_is_asked_for():
    # A mistake between values concerns the stage that uses them.
    assert check_arguments("evaluate", ["attack=autoattack"], CONF).found.errors == []


def test_tables_show_the_dagger_until_the_ledger_is_another_one(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(output)
    name = "trades-s0.95-l2-seed0"
    for stage in ("train", "evaluate", "audit"):
        base = output / "quick" / stage
        shutil.copytree(base / CELL, base / name)
    config = output / "quick" / "train" / name / "config.yaml"
    text = config.read_text().replace("sparsity: 0.9\n", "sparsity: 0.95\n")
    config.write_text(text.replace("name: natural", "name: trades"))
    path = output / "quick" / "audit" / name / "metrics.json"
    flag = {"name": "transfer", "reason": "another network's images fool more"}
    write_json(path, json.loads(path.read_text()) | {"flags": [flag]})
    (tmp_path / "params.yaml").write_text(
        "thesis: {cells: [trades-s0.95], rewire: [random, l2], seeds: [0]}"
    )

    def flags():
        tables.run(small(output)[0], [])
        table = json.loads((output / "tables" / "thesis_table3.json").read_text())
        markdown = (output / "tables" / "thesis_table3.md").read_text()
        cells = {(cell["row"].split()[0], cell["column"]): cell for cell in table["cells"]}
        assert cells["clean", "structured"]["flags"] == []
        return cells["robust", "structured"]["flags"], markdown

    found, markdown = flags()
    assert found == [flag["reason"]]
    row = "robust (published by PGD-50, 10 restarts)"
    assert f"- † {flag['reason']} ({row}, structured)." in markdown
    ledger = output / "quick" / "evaluate" / name / "trained.npz"
    arrays = load_ledger(ledger)
    save_ledger(ledger, arrays | {"clean_correct": ~arrays["clean_correct"]})
    found, markdown = flags()
    assert found is None
    assert f"- Not audited: {row}, structured." in markdown
