"""Timings: quartiles, turns, waiting for the device, targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.harness import Stopwatch, Timing, judged, measure


@pytest.mark.parametrize("seconds", [[3.0], [2.0, 1.0], [5.0, 1.0, 4.0, 2.0, 9.0]])
def test_quartiles_are_numpys(seconds):
    timing = Timing.of(seconds, per=2)
    expected = np.percentile(np.array(seconds) / 2, [25, 50, 75])
    assert (timing.low, timing.median, timing.high) == pytest.approx(tuple(expected))
    assert timing.runs == 2 * len(seconds)
    assert timing.columns()["ms"] == pytest.approx(1e3 * expected[1])
    assert timing.columns()["iqr ms"] == pytest.approx(1e3 * (expected[2] - expected[0]))


def test_tasks_take_turns_and_the_warm_up_does_not_count():
    order = []
    timings = measure({n: lambda n=n: order.append(n) for n in "ABC"}, rounds=3, warm_up=2)
    assert "".join(order) == "ABC" * 5
    assert [timings[name].runs for name in "ABC"] == [3, 3, 3]


def test_readings_are_of_the_own_task_without_its_warm_up(monkeypatch):
    now = iter([0.0, 100.0, 100.0, 101.0, 101.0, 103.0, 103.0, 108.0])
    monkeypatch.setattr("benchmarks.harness.time.perf_counter", lambda: next(now))
    timings = measure({"A": lambda: None, "B": lambda: None}, rounds=1, warm_up=1)
    assert (timings["A"].median, timings["B"].median) == (2.0, 5.0)


def test_a_gpu_is_waited_for_before_and_after(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: events.append("wait"))
    measure({"A": lambda: events.append("A")}, rounds=2, device=torch.device("cuda"))
    assert events == ["wait", "A", "wait"] * 2


def test_what_fails_leaves_no_reading():
    watch = Stopwatch(torch.device("cpu"))
    with pytest.raises(ZeroDivisionError), watch.time("A"):
        _ = 1 / 0
    assert watch.timings(warm_up=0) == {}


@pytest.mark.parametrize(
    ("bound", "value", "target", "met"),
    [
        ({"at_least": 3}, 3.0, ">= 3", "yes"),
        ({"at_least": 3}, 2.9, ">= 3", "no"),
        ({"at_most": 1.03}, 1.03, "<= 1.03", "yes"),
        ({"at_most": 1.03}, 1.04, "<= 1.03", "no"),
    ],
)
def test_targets(bound, value, target, met):
    assert judged("ratio", value, **bound) == {"ratio": value, "target": target, "met": met}
    assert judged("ratio", value) == {"ratio": value}
