"""Cells side by side: the numbers are the cells' own."""

from __future__ import annotations

import json
import re

import pytest
from stages.small import run, small

from rewire.errors import InputError
from rewire.stages import train
from rewire.stages.compare import compare


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    output = tmp_path_factory.mktemp("outputs")
    for rewire in ("random", "vector"):
        train.run(*small(output, f"rewire={rewire}"))
    return sorted((output / "quick" / "train").iterdir())


def test_comparison_shows_every_cell_with_its_own_numbers(folders, tmp_path):
    text = compare(folders, tmp_path / "result", title="A small comparison")
    assert (tmp_path / "result" / "README.md").read_text().strip() == text.strip()
    for label, folder in zip(("random", "vector"), folders, strict=True):
        metrics = json.loads((folder / "metrics.json").read_text())
        row = next(line for line in text.splitlines() if line.startswith(f"| {label}"))
        values = [float(value) for value in re.findall(r"[\d.]+", row)]
        assert values[0] == pytest.approx(metrics["clean"]["accuracy"], abs=0.01)
        assert values[1] == pytest.approx(metrics["structure"]["zero_vectors"]["percent"], abs=0.01)
        copied = tmp_path / "result" / label / "metrics.json"
        assert json.loads(copied.read_text()) == metrics
    pictures = {path.name for path in (tmp_path / "result").glob("*.png")}
    assert pictures == {"dense1.png", "dense2.png", "density.png"}
    assert "implied by the thesis" not in text  # another network than the thesis's


def test_what_cannot_be_compared(folders, tmp_path):
    with pytest.raises(InputError, match="two cells of strategy 'random'"):
        compare([folders[0], folders[0]], tmp_path / "result", title="")
    with pytest.raises(InputError, match="no finished training"):
        compare([tmp_path], tmp_path / "result", title="")
    result = run("-m", "rewire.stages.compare", str(tmp_path), "--to", "x", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert not (tmp_path / "x").exists()
