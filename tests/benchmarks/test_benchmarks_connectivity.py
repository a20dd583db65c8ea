"""The connectivity step beside the training step: a share of what was really trained."""

from __future__ import annotations

import pytest
import torch

from benchmarks.connectivity import SETTINGS, run
from rewire.registry import STRATEGIES

SETTINGS_HERE = SETTINGS["quick"] | {"sparsities": [0.99, 0.95]}


def test_rows():
    rows = run(device=torch.device("cpu"), cache=None, **SETTINGS_HERE)
    named = [(row["sparsity"], row["strategy"]) for row in rows]
    assert named == [(s, name) for s in (0.99, 0.95) for name in STRATEGIES]
    for row in rows:
        assert row["growth"] > 0
        assert row["budget held"]
        assert row["share %"] == pytest.approx(100 * row["ms"] / row["training step ms"])
        assert row["target"] == "<= 5"
        assert row["met"] in ("yes", "no")
