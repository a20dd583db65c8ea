"""The nine plots: numbers beside published ones, and what is drawn."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from helpers.toys_article import CONF, PLOTS, QUICK, published_run, rows, run
from matplotlib.figure import Figure

from rewire.article.report.curve_lines import curves_csv
from rewire.article.report.curve_plots import COLOURS, HEIGHTS, WIDTH, plot_curves
from rewire.article.report.published_curves import load_plot
from rewire.article.report.runs import Run

ANN, CNN = (published_run(network) for network in ("ann", "cnn"))
ACTIVATED = load_plot(CONF / "published" / "acti_values_pruning.yaml")
CNN_L2 = load_plot(CONF / "published" / "CNN_L2_pruning.yaml")


def small_run(seed: int, accuracies: list[float], **fields) -> Run:
    """One draw per accuracy of 3/.25 at ratio 0.8; 0.2 unpruned; 0.6 of it at ratio 0.98."""
    curves = []
    for draw, value in enumerate(accuracies):
        line = {0.0: 0.2, 0.8: value, 0.98: 0.6 * value}
        curves += rows("activated", {"3/.25": line}, draw=draw)
    return run(curves=curves, seed=seed, **fields)


def table(spec, runs, **options) -> dict[tuple, dict]:
    records = csv.DictReader(io.StringIO(curves_csv(spec, runs, **options)))
    return {(r["panel"], r["column"], float(r["ratio"])): r for r in records}


def test_csv_averages_draws_then_seeds_and_gives_their_range() -> None:
    found = table(ACTIVATED, [small_run(0, [0.4, 0.5]), small_run(1, [0.6])])
    row = found["dense1 to dense3", "3/.25", 0.8]
    assert float(row["ours"]) == pytest.approx((0.45 + 0.6) / 2)
    assert (float(row["low"]), float(row["high"])) == (0.4, 0.6)
    assert (row["seeds"], row["curves"], row["interpolated"]) == ("2", "3", "no")
    assert (row["published"], row["difference"]) == ("n/a", "n/a")
    assert (row["profile"], row["comparable"], row["head"]) == ("paper", "yes", "lq")


def test_csv_puts_published_values_at_their_true_ratio() -> None:
    found = table(ACTIVATED, [small_run(0, [0.4, 0.5])])
    row = found["dense1 to dense3", "3/.25", 0.81]  # plotted at 82
    assert (row["published"], row["published_x"], row["reading_error"]) == ("0.512", "82", "0.003")
    ours = 0.45 + (0.27 - 0.45) * 0.01 / 0.18
    assert float(row["ours"]) == pytest.approx(ours, abs=1e-6)
    assert float(row["difference"]) == pytest.approx(ours - 0.512, abs=1e-6)
    assert row["interpolated"] == "yes"
    row = found["dense1 to dense3", "8/.2", 0.0]
    assert (row["ours"], row["seeds"], row["by_eye"]) == ("n/a", "0", "yes")


def test_csv_of_the_article_s_own_curves_differs_nowhere() -> None:
    for path in PLOTS:
        spec = load_plot(path)
        found = table(spec, [ANN, CNN])
        differences = [float(r["difference"]) for r in found.values() if r["published"] != "n/a"]
        readings = [len(readings) for p in spec.panels for readings in p.readings.values()]
        assert len(differences) == sum(readings)
        assert max(map(abs, differences)) < 1e-9


def test_csv_keeps_the_author_s_repeat_apart() -> None:
    row = table(CNN_L2, [CNN])["dense2 alone", "2/.25", 0.988]
    assert (row["published"], row["repeat"]) == ("0.412", "0.15")


def test_csv_of_a_quick_profile_is_not_comparable() -> None:
    found = table(ACTIVATED, [small_run(0, [0.4], profile="quick")])
    assert {r["comparable"] for r in found.values()} == {"no"}
    assert {r["comparable"] for r in table(ACTIVATED, []).values()} == {"n/a"}
    assert {r["seeds"] for r in table(ACTIVATED, [ANN], head="rq").values()} == {"0"}


def colour(code: str) -> np.ndarray:
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.uint8)


def drawn(pixels: np.ndarray, code: str) -> int:
    """Pixels of exactly this colour left of the legend."""
    return int((pixels[:, :1000] == colour(code)).all(axis=-1).sum())


@pytest.mark.parametrize("name", ["acti_layer_pruning", "CNN_L2_pruning"])
def test_png_shows_a_line_per_column(name: str, tmp_path) -> None:
    spec = load_plot(CONF / "published" / f"{name}.yaml")
    pixels = plot_curves(spec, [ANN, CNN], tmp_path / "a.png", note=QUICK)
    alone = plot_curves(spec, [], tmp_path / "b.png", note=QUICK)
    assert pixels.shape == (HEIGHTS[len(spec.panels)], WIDTH, 3)
    assert pixels.dtype == np.uint8
    for code in COLOURS:
        assert drawn(pixels, code) > drawn(alone, code) + 100


def test_png_carries_the_note_and_the_state(tmp_path, monkeypatch) -> None:
    texts: list[str] = []
    for name in ("suptitle", "supxlabel"):
        original = getattr(Figure, name)

        def spy(self, text, *, original=original, **options):
            texts.append(text)
            return original(self, text, **options)

        monkeypatch.setattr(Figure, name, spy)
    plot_curves(ACTIVATED, [small_run(0, [0.4, 0.5])], tmp_path / "a.png", note=QUICK)
    assert texts[0].startswith("article, acti_values_pruning: activated-value pruning")
    assert texts[0].endswith("head lq, paper profile, 1 seed, 2 draws of the metric")
    assert QUICK in texts[1]
    assert "10,000 test images" in texts[1]
    texts.clear()
    plot_curves(ACTIVATED, [], tmp_path / "b.png", note=QUICK, head="rq")
    assert texts[0].endswith("head rq, not run: published values only")


def test_a_plot_is_the_same_bytes_every_time(tmp_path) -> None:
    first, second = (
        plot_curves(CNN_L2, [CNN], tmp_path / f"{name}.png", note=QUICK) for name in "ab"
    )
    assert np.array_equal(first, second)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
