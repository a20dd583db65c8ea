"""Which networks an audit transfers from, where the pipeline has a list of them."""

from __future__ import annotations

import pytest
from helpers.small import small

from rewire.errors import InputError
from rewire.files import read_json, sha256
from rewire.pipeline.cell import Cell
from rewire.thesis import surrogates
from rewire.thesis.audit import transfer_source
from rewire.thesis.surrogates import surrogates_file


def cell(output, strategy="l2", *overrides):
    config, _ = small(output, f"rewire={strategy}", "profile=quick", *overrides)
    return config, Cell.of("audit", config, [])


def train(output, *strategies):
    """Networks in the place of trained ones."""
    for strategy in strategies:
        path = output / "quick" / "train" / f"natural-s0.9-{strategy}-seed0" / "weights.safetensors"
        path.parent.mkdir(parents=True)
        path.write_text(strategy)


def list_surrogates(output, monkeypatch, tmp_path, strategies, *overrides):
    (tmp_path / "params.yaml").write_text(f"thesis: {{rewire: [{', '.join(strategies)}]}}\n")
    monkeypatch.chdir(tmp_path)
    config, plain = cell(output, "random", *overrides)
    surrogates.run(config, [])
    return read_json(surrogates_file(plain))


def test_only_networks_that_are_listed_trained_and_wanted_are_surrogates(tmp_path, monkeypatch):
    output = tmp_path / "out"
    train(output, "random", "l2", "vector")
    network = output / "quick" / "train" / "natural-s0.9-random-seed0" / "weights.safetensors"
    listed = list_surrogates(output, monkeypatch, tmp_path, ["random", "vector"])
    assert listed == {"random": sha256(network)}
    assert (
        surrogates_file(cell(output)[1])
        == output / "quick/surrogates/natural-s0.9-seed0/surrogates.json"
    )
    assert list(list_surrogates(output, monkeypatch, tmp_path, ["l2", "random"])) == [
        "random",
        "l2",
    ]
    assert list_surrogates(output, monkeypatch, tmp_path, ["weighted"]) == {}


def test_a_list_with_one_strategy_leaves_the_transfer_out_and_says_so(
    tmp_path, monkeypatch, capsys
):
    output = tmp_path / "out"
    train(output, "random", "l2")
    list_surrogates(output, monkeypatch, tmp_path, ["random"])
    capsys.readouterr()
    assert transfer_source(cell(output, "random")[1]) is None
    assert "lists none of l2; the check is left out" in capsys.readouterr().out
    assert transfer_source(cell(output, "vector")[1])[0] == "natural-s0.9-random-seed0"


def test_without_a_pipeline_a_missing_network_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no network to transfer from"):
        transfer_source(cell(tmp_path)[1])
