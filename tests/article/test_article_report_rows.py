"""Tables of noise, transfer, adaptive noise, controls and matched ratios."""

from __future__ import annotations

import pytest
from helpers.toys_article import COLUMNS, EIGHT, QUICK, counts, point, result, rows, run

from rewire.article.report.noise_rows import (
    adaptive_rows,
    noise_rows,
    rows_markdown,
    trainability_rows,
    transfer_rows,
)
from rewire.article.report.pruning_rows import (
    control_rows,
    dead_pixel_rows,
    matched_rows,
    point_rows,
)
from rewire.article.report.runs import Measured
from rewire.article.results import (
    Adapted,
    AdaptedPoint,
    Counts,
    CurveRow,
    Noised,
    Transferred,
    Trial,
)
from rewire.errors import InputError

ANN = COLUMNS["ann"]


def level(value: float, clean: float = 0.98) -> Counts:
    """Counts with one accuracy under every vector."""
    return counts([clean] + [value] * (len(ANN) - 1))


def noise(seed: int, value: float, *, columns=ANN, **cell) -> Measured[Noised]:
    accuracy = {
        variant: {
            evaluation: {"all": level(value + shift), "non_target": level(value + shift - 0.1)}
            for evaluation, shift in (("E1", 0.0), ("E2", 0.05))
        }
        for variant in ("G1", "G2")
    }
    trials = [
        Trial(loss=loss, optimiser="sgd", lr=0.1, column=column, correct=10 * k + seed, images=100)
        for loss, k in (("ce", 3), ("quadratic_linear", 9))
        for column in ("3/.25", "8/.2")
    ]
    metrics = Noised(
        pairs=[],
        columns=columns,
        steps=1,
        precision="32-true",
        accuracy=accuracy,
        trainability=trials,
    )
    return result(metrics, seed=seed, **cell)


def test_noise_rows_average_over_seeds() -> None:
    found = noise_rows([noise(0, 0.4), noise(1, 0.5), noise(0, 0.3, head="rq")], network="ann")
    keys = [(row["head"], row["noise"], row["evaluation"], row["seeds"]) for row in found]
    both = [("G1", "E1"), ("G1", "E2"), ("G2", "E1"), ("G2", "E2")]
    assert keys == [("lq", *b, 2) for b in both] + [("rq", *b, 1) for b in both]
    assert found[0]["none"] == pytest.approx(98)
    assert found[0]["3/.25"] == pytest.approx(45)
    assert found[1]["mean of 8"] == pytest.approx(50)
    assert found[0]["… without images of the vector's class"] == pytest.approx(35)
    assert noise_rows([noise(0, 0.4)], network="cnn") == []


def test_trainability_rows() -> None:
    found = trainability_rows([noise(0, 0.4), noise(2, 0.4)], network="ann")
    assert [(row["loss"], row["seeds"]) for row in found] == [("ce", 2), ("quadratic_linear", 2)]
    assert found[0]["8/.2"] == pytest.approx(31)


def test_transfer_rows_are_networks_by_sources() -> None:
    def cell(head: str, values: tuple[float, float, float], seed: int = 0):
        sources = {
            source: {
                variant: {"E1": level(value + shift), "E2": level(value + shift + 0.1)}
                for variant, shift in (("G1", 0.0), ("G2", 0.05))
            }
            for source, value in zip(("sce", "lq", "rq"), values, strict=True)
        }
        return result(Transferred(columns=ANN, sources=sources), head=head, seed=seed)

    cells = [cell("lq", (0.5, 0.2, 0.3)), cell("lq", (0.7, 0.2, 0.3), 1), cell("sce", (0.1, 0, 0))]
    found = transfer_rows(cells)
    assert [(row["network of"], row["noise"], row["seeds"]) for row in found] == [
        *(("sce", "G1", 1), ("sce", "G2", 1), ("lq", "G1", 2), ("lq", "G2", 2)),
    ]
    assert found[2]["noise of sce"] == pytest.approx(60)
    assert found[2]["noise of rq"] == pytest.approx(30)
    assert found[2]["none"] == pytest.approx(98)
    assert found[3]["noise of sce"] == pytest.approx(65)
    assert transfer_rows(cells, evaluation="E2")[1]["noise of sce"] == pytest.approx(25)


def test_adaptive_rows_say_how_much_of_the_gain_remains() -> None:
    points = [
        AdaptedPoint(
            point=name, ratios={}, sparsity=0.9, static=level(s, 0.97), adaptive=level(a, 0.97)
        )
        for name, s, a in (("absolute", 0.6, 0.45), ("combined", 0.35, 0.3))
    ]
    adaptive = result(Adapted(columns=ANN, steps=1, evaluation="E1", points=points))
    # Of other seeds than those that were pruned, and of other heads, there is noise, too.
    whole = [noise(0, 0.4), noise(1, 0.7), noise(0, 0.9, head="rq")]
    first, absolute, combined = adaptive_rows([adaptive], whole)
    assert (first.point, first.static, first.adaptive) == ("none", 40.0, 40.0)
    assert absolute.clean == pytest.approx(97)
    assert absolute.kept == pytest.approx(25)
    assert combined.kept is None  # nothing was gained
    (absolute, _) = adaptive_rows([adaptive])
    assert (absolute.static, absolute.kept) == (60.0, None)
    assert list(absolute.as_json()) == [
        "head", "point", "seeds", "sparsity %", "clean", "static", "adaptive", "gain kept %",
    ]  # fmt: skip


def test_control_rows_compare_curves_at_equal_ratios() -> None:
    def curve(name: str, slope: float, draw: int = 0) -> list[CurveRow]:
        values = {c: {0.0: 0.2, 0.85: 0.2 + 0.85 * slope, 0.95: 0.5} for c in EIGHT["ann"]}
        values["none"] = {0.0: 0.98, 0.85: 0.97, 0.95: 0.95}
        return rows(name, values, draw=draw)

    curves = curve("absolute", 0.2) + curve("random", 0.0) + curve("mean_x", 0.1, 0)
    curves += curve("mean_x", 0.3, 1)
    found = control_rows([run(curves=curves)], ratios=(0.85, 0.9, 0.99))
    assert [(r["ratio %"], r["pruning"]) for r in found] == [
        (ratio, name) for ratio in (85, 90) for name in ("absolute", "random", "mean_x")
    ]
    assert found[0]["mean of 8"] == pytest.approx(37)
    assert found[2]["mean of 8"] == pytest.approx(100 * (0.2 + 0.85 * 0.2))
    assert (found[2]["draws"], found[0]["draws"]) == (2, 1)
    assert found[3]["clean"] == pytest.approx(96)  # between 85 and 95 %
    assert found[3]["sparsity %"] == pytest.approx(90)


def test_matched_rows_give_the_ratios_and_every_vector() -> None:
    line = {0.0: 0.99, 0.8: 0.985, 0.9: 0.98}
    values = {column: {r: 0.1 + r for r in line} for column in EIGHT["ann"]}
    values |= {"none": {0.0: 0.98, 0.8: 0.975, 0.9: 0.97}, "validation": line}
    (row,) = matched_rows([run(curves=rows("absolute", values))])
    assert (row["pruning"], row["ratio %"], row["draws"]) == ("absolute", pytest.approx(80), 1)
    assert (row["none"], row["8/.2"]) == (pytest.approx(97.5), pytest.approx(90))
    assert row["mean of 8"] == pytest.approx(90)


def test_point_rows() -> None:
    points = [point("layers", [0.95] + [0.6 + draw / 10] * 9, draw=draw) for draw in range(3)]
    points += [
        point("none", [0.98] + [0.2] * 9),
        point("none", [0.98] + [0.3] * 9, evaluation="E2"),
    ]
    found = point_rows([run(points=points)], network="ann", points=("none", "layers", "absent"))
    assert [row["pruning"] for row in found] == ["none", "layers"]
    assert found[1]["mean of 8"] == pytest.approx(70)
    assert found[1]["sparsity %"] == pytest.approx(50)
    (clipped,) = point_rows([run(points=points)], network="ann", points=("none",), evaluation="E2")
    assert clipped["3/.25"] == pytest.approx(30)


def test_dead_pixel_rows() -> None:
    accuracy = {"unpruned": level(0.4), "weights_pruned": level(0.5), "noise_zeroed": level(0.45)}
    found = dead_pixel_rows([run(dead_pixels={"pixels": 237, "accuracy": accuracy})])
    assert [row["case"] for row in found] == ["unpruned", "weights pruned", "noise zeroed"]
    assert [row["mean of 8"] for row in found] == pytest.approx([40, 50, 45])
    assert found[0]["black pixels"] == 237
    assert dead_pixel_rows([run()]) == []


def test_markdown_carries_the_note() -> None:
    found = noise_rows([noise(0, 0.4)], network="ann")
    text = rows_markdown(found, title="Noise", note=QUICK)
    assert text.startswith(f"# Noise\n\n**{QUICK}**\n\n| head | noise |")
    assert text.count("\n| lq |") == 4
    assert rows_markdown([], title="Noise", note=QUICK).endswith("Not run.\n")


def test_counts_must_fit_the_columns() -> None:
    with pytest.raises(InputError, match="columns"):
        noise_rows([noise(0, 0.4, columns=ANN[:-1])], network="ann")
