"""The picture of what a network costs: who is on it, and where accuracies come from."""

from __future__ import annotations

import json

import pytest

from benchmarks import structure
from benchmarks.structure import CELLS, PAPER, ROOT, accuracy_of, trained
from benchmarks.structure_figure import ACCURACY
from rewire.reporting.canvas import new_figure

SIZES = (1, 16)


def rows():
    """Two sparse networks, one of them without an accuracy, a thin one, and the dense form."""
    for size in SIZES:
        common = {"part": "inference", "batch": size}
        yield common | {"network": "paper: l2", "form": "engine", "ms": size, ACCURACY: 83.5}
        yield common | {"network": "paper: l2", "form": "compacted", "ms": 9 * size, ACCURACY: 83.5}
        yield common | {"network": "vectors at 2 %", "form": "engine", "ms": 2 * size}
        yield common | {"network": "random", "form": "dense", "ms": 20 * size}
        yield common | {"network": "thin 0.1", "form": "dense", "ms": 3 * size, ACCURACY: 75.0}
    yield {"part": "step", "network": "paper: l2", "ms": 1}


def test_networks_of_known_accuracy_are_drawn_in_every_panel(tmp_path, monkeypatch):
    figures = []

    def kept(*arguments, **options):
        figures.append(new_figure(*arguments, **options))
        return figures[-1]

    monkeypatch.setattr("benchmarks.structure_figure.new_figure", kept)
    for name in ("a.png", "b.png"):
        structure.picture(list(rows()), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    panels = figures[0].axes
    assert [panel.get_title() for panel in panels] == ["1 image", "16 images"]
    for size, panel in zip(SIZES, panels, strict=True):
        lines = {line.get_label(): line.get_xydata().tolist() for line in panel.lines}
        assert lines["l2"] == [[size, 83.5]]
        assert lines["dense, thin"] == [[3 * size, 75.0]]
        assert lines["full, dense"][0][0] == 20 * size
        assert len(lines) == 3


def test_without_an_accuracy_there_is_no_picture(tmp_path):
    without = [{k: v for k, v in row.items() if k != ACCURACY} for row in rows()]
    structure.picture(without, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_accuracies_are_those_of_the_published_cells():
    cell = ROOT / PAPER / "cells" / "natural-s0.99-l2-seed0"
    published = json.loads((cell / "train_metrics.json").read_text())["clean"]
    assert accuracy_of(cell) == pytest.approx(100 * published["correct"] / published["total"])
    short = ROOT / "results" / "structure" / "cells" / "natural-s0.99-random-seed0"  # 16 epochs
    assert {cell, short} <= {path for pattern in CELLS for path in ROOT.glob(pattern)}
    found = trained([str(path.relative_to(ROOT)) for path in (cell, short)])
    assert {network.name: network.accuracy for network in found} == {
        "paper: l2": accuracy_of(cell),
        "structure: random": None,
    }
