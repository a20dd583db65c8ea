"""Pairs of strategies from the ledgers that the evaluation leaves."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from helpers.small import small

from rewire.errors import InputError
from rewire.evaluation.ledger import save_ledger
from rewire.evaluation.paired import mcnemar
from rewire.files import sha256
from rewire.pipeline.common import Profile
from rewire.pipeline.document import SELECTIONS, WEIGHTS
from rewire.thesis import tables
from rewire.thesis.paired import write_paired

AXES = {
    "cells": ["natural-s0.99", "trades-s0.95"],
    "rewire": ["random", "l2", "vector"],
    "seeds": [0, 1],
}
PROFILE = Profile(name="quick", note="Quick profile. Not comparable with the published numbers.")
TRAINED = SELECTIONS["best_test"]  # of which no figure is drawn


class Listener:
    """A tracker that keeps its tables."""

    def __init__(self):
        self.tables = {}

    def table(self, name, columns, rows):
        self.tables[name] = (columns, rows)


def put(base, name, *, variant="trained", images=range(100), attacked=None, seed=0, **changes):
    """The ledgers of a cell, with its images in an order of its own; all of them in one."""
    random = np.random.default_rng(seed)
    indices = random.permutation(np.array(images))
    clean = random.random(len(indices)) < 0.8
    arrays = {
        "indices": indices,
        "labels": indices % 10,
        "clean_correct": clean,
        "robust_correct": clean & (random.random(len(indices)) < 0.5),
        **changes,
    }
    chosen = np.isin(indices, attacked) if attacked is not None else np.full(len(indices), True)
    folder = base / "evaluate" / name
    save_ledger(folder / f"{variant}.npz", {key: array[chosen] for key, array in arrays.items()})
    clean_only = {key: array for key, array in arrays.items() if key != "robust_correct"}
    save_ledger(folder / f"{variant}_clean.npz", clean_only)
    trained, pruned = base / "train" / name / TRAINED, base / "prune" / name / WEIGHTS
    for network in (trained, pruned):
        network.parent.mkdir(parents=True, exist_ok=True)
        network.write_text(name)
    for stage, made_from in (
        ("prune", {"train": trained}),
        ("evaluate", {"train": trained, "prune": pruned}),
    ):
        config = {"selection": "best_test"}
        config |= {"inputs": {key: sha256(path) for key, path in made_from.items()}}
        (base / stage / name / "config.yaml").write_text(yaml.safe_dump(config))
    order = np.argsort(indices)
    return {key: array[order] for key, array in arrays.items()}


def written(tmp_path, axes=AXES):
    tracker = Listener()
    write_paired(tmp_path / "quick", axes, tmp_path / "tables", profile=PROFILE, tracker=tracker)
    rows = json.loads((tmp_path / "tables" / "thesis_paired.json").read_text())["rows"]
    columns, logged = tracker.tables["thesis_paired"]
    assert logged == [[row[column] for column in columns] for row in rows]
    return rows


def test_every_pair_that_was_run_and_no_other(tmp_path, capsys):
    base = tmp_path / "quick"
    random = put(base, "natural-s0.99-random-seed0", seed=1)
    l2 = put(base, "natural-s0.99-l2-seed0", seed=2)
    for seed in (0, 1):
        put(base, f"trades-s0.95-vector-seed{seed}", seed=3 + seed, variant="pruned")
        put(base, f"trades-s0.95-random-seed{seed}", seed=5 + seed, variant="pruned")
    put(base, "trades-s0.95-l2-seed0", seed=7, variant="trained")  # of no pair
    rows = written(tmp_path)
    keys = ("cell", "variant", "measure", "strategy", "baseline", "seeds", "interval")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("natural-s0.99", "trained", "clean", "l2", "random", 1, "images"),
        ("natural-s0.99", "trained", "robust", "l2", "random", 1, "images"),
        ("trades-s0.95", "pruned", "clean", "vector", "random", 2, "seeds and images"),
        ("trades-s0.95", "pruned", "robust", "vector", "random", 2, "seeds and images"),
    ]
    for row, measure in zip(rows[:2], ("clean_correct", "robust_correct"), strict=True):
        ours, theirs = l2[measure], random[measure]
        assert row["difference"] == pytest.approx(100 * (ours.mean() - theirs.mean()))
        assert row["p"] == mcnemar(ours, theirs).p
    assert "thesis_paired: 4 comparisons" in capsys.readouterr().out
    text = (tmp_path / "tables" / "thesis_paired.md").read_text()
    assert PROFILE.note in text
    assert "| l2 - random |" in text


def test_a_network_at_chance_is_marked_and_not_compared(tmp_path):
    base, images = tmp_path / "quick", range(1000)
    constant = np.arange(1000) % 10 == 3  # one answer for all: no attack fools it
    put(base, "natural-s0.99-random-seed0", images=images, seed=1)
    put(base, "natural-s0.99-l2-seed0", images=images, seed=2)
    put(
        base, "natural-s0.99-vector-seed0", images=images, indices=np.arange(1000),
        labels=np.arange(1000) % 10, clean_correct=constant, robust_correct=constant,
    )  # fmt: skip
    rows = {(row["strategy"], row["baseline"], row["measure"]): row for row in written(tmp_path)}
    for baseline in ("random", "l2"):
        for measure in ("clean", "robust"):
            row = rows["vector", baseline, measure]
            assert row["verdict"] == "at chance: vector seed 0"
            assert (row["difference"], row["p"], row["p_holm"], row["ci95_low"]) == (None,) * 4
    assert rows["l2", "random", "robust"]["p_holm"] <= 1
    text = (tmp_path / "tables" / "thesis_paired.md").read_text()
    assert text.count("| at chance: vector seed 0 |") == 4
    assert "At chance: without an attack the network is right no more often than" in text
    assert "corrected for all 2 comparisons of this table" in text


def test_ledgers_of_a_network_that_is_gone_are_left_out_and_named(tmp_path, capsys):
    base = tmp_path / "quick"
    for name in ("random", "l2", "vector"):
        put(base, f"natural-s0.99-{name}-seed0", seed=len(name))
    (base / "train" / "natural-s0.99-l2-seed0" / TRAINED).write_text("trained again")
    assert {(row["strategy"], row["baseline"]) for row in written(tmp_path)} == {
        ("vector", "random")
    }
    again = f"rewire thesis evaluate profile=quick output={tmp_path}"
    assert f"outdated and left out: run {again}" in capsys.readouterr().out
    assert f"`{again}`" in (tmp_path / "tables" / "thesis_paired.md").read_text()


def test_seeds_that_only_one_strategy_has_are_left_out(tmp_path):
    axes = AXES | {"rewire": ["random", "l2"]}
    base = tmp_path / "quick"
    for name in ("random-seed0", "random-seed1", "l2-seed1"):
        put(base, f"natural-s0.99-{name}", seed=len(name))
    row = written(tmp_path, axes)[0]
    assert [each["seed"] for each in row["per_seed"]] == [1]


def test_only_common_images_count(tmp_path):
    base = tmp_path / "quick"
    random = put(base, "natural-s0.99-random-seed0", images=range(60), seed=1)
    l2 = put(base, "natural-s0.99-l2-seed0", images=range(20, 90), seed=2)
    row = written(tmp_path)[0]
    assert row["images"] == 40
    ours, theirs = l2["clean_correct"][:40], random["clean_correct"][20:]
    assert row["difference"] == pytest.approx(100 * (ours.mean() - theirs.mean()))


def test_clean_accuracy_is_compared_on_all_test_images_not_on_the_attacked_ones(tmp_path, capsys):
    base = tmp_path / "quick"
    random = put(base, "natural-s0.99-random-seed0", attacked=range(30), seed=1)
    l2 = put(base, "natural-s0.99-l2-seed0", attacked=range(30), seed=2)
    clean, robust = written(tmp_path)
    assert (clean["measure"], clean["images"]) == ("clean", 100)
    ours, theirs = l2["clean_correct"], random["clean_correct"]
    assert clean["difference"] == pytest.approx(100 * (ours.mean() - theirs.mean()))
    assert clean["p"] == mcnemar(ours, theirs).p
    assert (robust["measure"], robust["images"]) == ("robust", 30)
    ours, theirs = l2["robust_correct"][:30], random["robust_correct"][:30]
    assert robust["difference"] == pytest.approx(100 * (ours.mean() - theirs.mean()))

    # A result without them is not compared by what it has instead, and that is said.
    (base / "evaluate" / "natural-s0.99-l2-seed0" / "trained_clean.npz").unlink()
    capsys.readouterr()
    assert [row["measure"] for row in written(tmp_path)] == ["robust"]
    assert "natural-s0.99-l2-seed0/trained_clean.npz is missing" in capsys.readouterr().out


def test_ledgers_that_cannot_be_compared_are_named(tmp_path):
    base = tmp_path / "quick"
    put(base, "natural-s0.99-random-seed0", images=range(50))
    put(base, "natural-s0.99-l2-seed0", images=range(50, 100))
    with pytest.raises(InputError, match=r"no image in common: natural-s0\.99-l2-seed0, trained;"):
        written(tmp_path)
    put(base, "natural-s0.99-l2-seed0", labels=np.zeros(100, int))
    with pytest.raises(InputError, match=r"has label . in the ledger of natural"):
        written(tmp_path)
    path = base / "evaluate" / "natural-s0.99-l2-seed0" / "trained.npz"
    save_ledger(path, {"indices": np.arange(3), "labels": np.arange(3)})
    with pytest.raises(InputError, match=r"trained\.npz' lacks robust_correct"):
        written(tmp_path)
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match="damaged"):
        written(tmp_path)


def test_the_tables_stage_writes_it_also_without_a_pair(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        "thesis: {cells: [natural-s0.99], rewire: [random, l2], seeds: [0]}"
    )
    output = tmp_path / "outputs"
    tables.run(small(output)[0], [])
    text = (output / "tables" / "thesis_paired.md").read_text()
    assert "No pair" in text
    assert "Not comparable" in text
    assert "thesis_paired: 0 comparisons" in capsys.readouterr().out

    put(output / "quick", "natural-s0.99-random-seed0", seed=1)
    put(output / "quick", "natural-s0.99-l2-seed0", seed=2)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setenv("DVC_STAGE", "tables")  # nobody reads tables in the log of a pipeline
        tables.run(small(output)[0], [])
    assert "|" not in capsys.readouterr().out
    first = {path: path.read_bytes() for path in (output / "tables").glob("thesis_paired.*")}
    assert len(first) == 3
    assert b"l2 - random" in first[output / "tables" / "thesis_paired.md"]
    tables.run(small(output)[0], [])
    assert "|" in capsys.readouterr().out
    assert first == {path: path.read_bytes() for path in first}
