"""The notebook runs, as plain Python, and its executed twin is the same."""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy

import pytest
from helpers.small import ROOT

from rewire.registry import STRATEGIES

NOTEBOOK = ROOT / "docs" / "notebook.py"


@pytest.fixture(scope="module")
def names():
    """What the notebook has defined when it ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "Agg")
        patch.chdir(ROOT)
        import matplotlib.pyplot as plt

        plt.switch_backend("Agg")
        patch.setattr(plt, "show", lambda: None)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            found = runpy.run_path(str(NOTEBOOK))
        yield found | {"said": said.getvalue()}
        plt.close("all")


def test_it_loads_a_network_and_counts_its_zero_vectors(names):
    assert names["connected"] == 122_680
    assert (names["zero_vectors"].count, names["zero_vectors"].total) == (21, 11_387)


def test_it_attacks_one_image_of_every_class_inside_the_ball(names):
    assert sorted(names["ten"].labels.tolist()) == list(range(10))
    for result in names["found"].values():
        assert float((result.adversarial - names["images"]).abs().max()) <= 8 / 255 + 1e-6
        assert bool((result.clean_correct | ~result.correct).all())
    natural, robust = names["found"]["natural"], names["found"]["robust"]
    assert int(natural.clean_correct.sum()) > int(robust.clean_correct.sum())
    assert int(natural.correct.sum()) < int(robust.correct.sum())


def test_its_strategy_holds_the_budget_and_empties_vectors(names):
    own, random = names["after"]["fullest"], names["after"]["random"]
    assert own["connected"] == random["connected"] == 122_680
    assert min(own["growth"], random["growth"]) > 1000
    assert own["zero vectors"] > random["zero vectors"]
    assert "fullest" not in STRATEGIES  # of the notebook alone


def test_the_executed_twin_said_what_is_said_today(names):
    """Up to numbers, of which some are another processor's. After a change of the notebook or of
    what it shows: `jupytext --to ipynb --execute docs/notebook.py`.
    """
    cells = json.loads(NOTEBOOK.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    said = "".join(line for output in outputs for line in output.get("text", ()))
    assert re.sub(r"\d+", "#", said) == re.sub(r"\d+", "#", names["said"])
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


def test_the_executed_twin_has_the_same_cells():
    text = NOTEBOOK.read_text(encoding="utf-8")
    parts = re.split(r"^# %%( \[markdown\])?\n", text, flags=re.MULTILINE)[1:]
    cells = json.loads(NOTEBOOK.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    assert len(cells) == len(parts) // 2
    for cell, kind, source in zip(cells, parts[::2], parts[1::2], strict=True):
        assert cell["cell_type"] == ("markdown" if kind else "code")
        lines = source.strip().splitlines()
        expected = [re.sub("^# ?", "", line) if kind else line for line in lines]
        assert "".join(cell["source"]).splitlines() == expected
        for output in cell.get("outputs", ()):
            assert output["output_type"] != "error"
