"""A sweep that is started again does what is missing, and starts no process for the rest."""

from __future__ import annotations

import pytest
from helpers.small import small

from rewire.sweep.launcher import IsolatedLauncher
from rewire.thesis import prune, train


def plan(stage: str, *configs) -> list[str | None]:
    """What the launcher knows of each job before it starts any."""
    launcher = IsolatedLauncher(stage, 1)
    rows = launcher._plan(configs, [[]] * len(configs))
    launcher._skip_finished(rows, configs)
    return [row.get("status") for row in rows]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """A finished training and what was made of it."""
    folder = tmp_path_factory.mktemp("finished")
    for stage in (train, prune):
        stage.run(*small(folder, "trainer.epochs=1"))
    return folder


def test_a_finished_cell_is_known_without_a_process(output, capsys):
    config, _ = small(output, "trainer.epochs=1")
    other, _ = small(output, "trainer.epochs=1", "seed=1")
    assert plan("train", config, other) == ["skipped", None]
    assert capsys.readouterr().out.count("finished already: ") == 1
    # With other settings, or told to, it runs again.
    changed, _ = small(output, "trainer.epochs=2")
    forced, _ = small(output, "trainer.epochs=1", "force=true")
    assert plan("train", changed) == plan("train", forced) == [None]


def test_a_result_whose_file_or_input_has_changed_is_not_finished(output):
    config, _ = small(output, "trainer.epochs=1")
    assert plan("prune", config) == ["skipped"]
    (metrics,) = (output / "quick" / "train").glob("*/metrics.json")
    (weights,) = (output / "quick" / "train").glob("*/weights.safetensors")
    for path, states in ((metrics, [None, "skipped"]), (weights, [None, None])):
        whole = path.read_bytes()
        path.write_bytes(whole + b" ")
        assert [*plan("train", config), *plan("prune", config)] == states
        path.write_bytes(whole)
    assert plan("prune", config) == ["skipped"]
