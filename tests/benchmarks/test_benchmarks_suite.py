"""The command: which benchmarks run, what is printed and written, and what is refused."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from importlib import metadata

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.suite import BENCHES, MODES, check_names, run_bench
from rewire.errors import InputError

KEYS = {"bench", "mode", "settings", "rows", "not_measured", "machine"}


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_has_both_modes_and_takes_their_settings(name):
    bench = importlib.import_module(f"benchmarks.{name}")
    assert set(bench.DEVICES) <= {"cpu", "cuda"}
    assert set(bench.SETTINGS) == set(MODES)
    for settings in bench.SETTINGS.values():
        json.dumps(settings)
        assert {"device", "cache", *settings} == set(inspect.signature(bench.run).parameters)


def test_written_result(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run_bench("search", mode="quick", device="all", output=tmp_path)
    assert json.loads((tmp_path / "search.json").read_text()).keys() == KEYS
    assert result["not_measured"] == {"cuda": "no CUDA device"}
    assert {row["device"] for row in result["rows"]} == {"cpu"}
    assert {row.get("met") for row in result["rows"]} == {None, "not judged"}
    assert result["machine"].keys() >= {"cpu", "versions", "commit", "threads", "cores", "seconds"}
    assert result["machine"]["versions"]["torch"] == metadata.version("torch")
    printed = capsys.readouterr().out
    assert "cuda: not measured (no CUDA device)" in printed
    assert "targets are not judged" in printed
    assert f"wrote {tmp_path / 'search.json'}" in printed


def test_a_device_that_was_not_asked_for_is_not_measured(tmp_path):
    result = run_bench("search", mode="quick", device="cuda", output=tmp_path)
    assert result["not_measured"]["cpu"] == "not asked for"
    assert not any(row["device"] == "cpu" for row in result["rows"])


def test_names():
    assert check_names([]) == list(BENCHES)
    assert check_names(["scale", "search"]) == ["scale", "search"]
    with pytest.raises(InputError, match=r"unknown benchmark 'serch'.*Did you mean 'search'\?"):
        check_names(["search", "serch"])


def run_main(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    main()


def test_unknown_name_is_one_clear_error(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_main(monkeypatch, "search", "serch", "--quick", "--output", str(tmp_path / "new"))
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(name in line for name in ("error:", "'serch'", *BENCHES))
    assert not (tmp_path / "new").exists()


def test_output_that_cannot_be_written_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stopped:
        run_main(monkeypatch, "search", "--quick", "--output", str(tmp_path / "file"))
    assert stopped.value.code == 2
    assert "cannot write to the output folder" in capsys.readouterr().err


def test_only_what_was_named_runs(tmp_path, monkeypatch):
    run_main(monkeypatch, "augmentation", "--quick", "--device", "cpu", "--output", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["augmentation.json"]
