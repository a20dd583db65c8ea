"""The sweeps of an examination as a picture."""

from __future__ import annotations

import numpy as np
import pytest

from rewire.errors import InputError
from rewire.thesis.report.audit_figure import HEIGHT, PANEL, Sweep, audit_plot

SWEEPS = [Sweep("radius", [0, 8, 64], [60.0, 40.0, 0.0]), Sweep("steps", [10, 50], [41.0, 40.0])]
LINE = (0x00, 0x72, 0xB2)


def test_a_panel_for_every_sweep_and_the_same_bytes_every_time(tmp_path):
    first = audit_plot(SWEEPS, path=tmp_path / "a.png", levels={"reported": 40.0})
    second = audit_plot(SWEEPS, path=tmp_path / "b.png", levels={"reported": 40.0})
    assert first.shape == (HEIGHT, 2 * PANEL, 3)
    assert np.array_equal(first, second)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    places = np.argwhere((first == LINE).all(axis=2))
    middle = PANEL + 30  # the labels of the shared axis push the panels to the right
    # All panels share the axis from 0 to 100 %: 0 % lies far below 41 %.
    left, right = (places[(places[:, 1] > middle) == side, 0] for side in (False, True))
    assert left.max() > right.max() + 50


@pytest.mark.parametrize("sweeps", [[], [Sweep("x", [], [])], [Sweep("x", [1, 2], [1.0])]])
def test_what_cannot_be_drawn_is_refused(sweeps, tmp_path):
    with pytest.raises(InputError):
        audit_plot(sweeps, path=tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
