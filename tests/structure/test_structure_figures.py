"""Plots: every connection keeps its pixel, the orientation is the thesis's, bytes repeat."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rewire.errors import InputError
from rewire.thesis.report.matrix_figures import (
    ABSENT,
    CONNECTED,
    density_plot,
    matrix_image,
    matrix_plot,
)


def sparse(shape: tuple[int, ...], density: float = 0.01) -> np.ndarray:
    return (np.random.default_rng(1).random(shape) < density).astype(np.float32)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def yellow(image: np.ndarray) -> int:
    return int((image == CONNECTED).all(axis=-1).sum())


def test_vectors_are_rows_and_outputs_are_columns() -> None:
    weight = np.zeros((2, 3))
    weight[1, 0] = -0.5
    image = matrix_image(weight)
    assert image.shape == (3, 2, 3)
    assert image.dtype == np.uint8
    assert tuple(image[0, 1]) == CONNECTED
    assert [tuple(image[i, j]) for i, j in [(0, 0), (1, 1), (2, 0)]] == [ABSENT] * 3


def test_the_colours_are_the_ends_of_viridis() -> None:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    ends = [to_hex(colormaps["viridis"](end)) for end in (0.0, 1.0)]
    assert [f"#{bytes(color).hex()}" for color in (ABSENT, CONNECTED)] == ends


@pytest.mark.parametrize(
    ("shape", "scale"), [((256, 256), 2), ((256, 2048), 1), ((10, 256), 2), ((64, 3, 3, 3), 8)]
)
def test_every_weight_keeps_its_pixels_in_the_file(shape, scale, tmp_path: Path) -> None:
    weights = [sparse(shape, density) for density in (0.01, 0.02, 0.3)]
    panels = [(f"panel {i}", weight) for i, weight in enumerate(weights)]
    returned = matrix_plot(panels, path=tmp_path / "plot.png", suptitle="title")
    image = read(tmp_path / "plot.png")
    np.testing.assert_array_equal(image, returned)
    connected = sum(int(np.count_nonzero(weight)) for weight in weights)
    total = sum(weight.size for weight in weights)
    assert yellow(image) == connected * scale**2
    assert int((image == ABSENT).all(axis=-1).sum()) == (total - connected) * scale**2


def test_panels_stand_side_by_side_in_the_given_orientation(tmp_path: Path) -> None:
    left, right = np.zeros((256, 512)), np.zeros((256, 512))
    left[0, 0] = right[255, 511] = 1.0
    matrix_plot([("left", left), ("right", right)], path=tmp_path / "plot.png")
    places = np.argwhere((read(tmp_path / "plot.png") == CONNECTED).all(axis=-1))
    (top, start), (bottom, end) = places.tolist()
    assert bottom - top == 511
    assert end - start > 2 * 255
    dark = np.argwhere((read(tmp_path / "plot.png") == ABSENT).all(axis=-1))
    assert dark.min(axis=0).tolist() == [top, start]
    assert dark.max(axis=0).tolist() == [bottom, end]


def test_title_names_the_share_of_zero_vectors(tmp_path: Path, monkeypatch) -> None:
    from matplotlib.figure import Figure

    texts = []
    original = Figure.text
    monkeypatch.setattr(
        Figure, "text", lambda self, x, y, s, **kw: texts.append(s) or original(self, x, y, s, **kw)
    )
    matrix_plot([("structured", np.eye(2, 8))], path=tmp_path / "plot.png", suptitle="99 %")
    assert "structured\n75.00 % zero vectors" in texts
    assert {"99 %", "2 outputs", "8 inputs"} <= set(texts)


def test_files_have_the_same_bytes_every_time_and_no_date(tmp_path: Path) -> None:
    densities = {"a": {"x": 1.0, "y": 40.0}, "b": {"x": 0.5, "y": 0.0}}
    for name in ("first", "second"):
        matrix_plot([("a", sparse((16, 16)))], path=tmp_path / f"m{name}.png")
        density_plot(densities, path=tmp_path / f"d{name}.png")
    for kind in ("m", "d"):
        content = (tmp_path / f"{kind}first.png").read_bytes()
        assert content == (tmp_path / f"{kind}second.png").read_bytes()
        assert Image.open(tmp_path / f"{kind}first.png").text == {}


def test_density_plot_draws_a_bar_per_strategy_and_layer(tmp_path: Path, monkeypatch) -> None:
    from matplotlib.axes import Axes

    drawn = []
    original = Axes.bar
    monkeypatch.setattr(
        Axes,
        "bar",
        lambda self, x, height, **kw: (
            drawn.append((kw["label"], list(height))) or original(self, x, height, **kw)
        ),
    )
    densities = {"random": {"x": 1.0, "y": 2.0}, "l2": {"y": 4.0, "x": 3.0}}
    returned = density_plot(densities, path=tmp_path / "d.png", title="t")
    assert drawn == [("random", [1.0, 2.0]), ("l2", [3.0, 4.0])]
    np.testing.assert_array_equal(read(tmp_path / "d.png"), returned)


def test_a_network_without_connections_can_be_drawn(tmp_path: Path) -> None:
    assert yellow(matrix_plot([("a", np.zeros((4, 4)))], path=tmp_path / "m.png")) == 0
    image = density_plot({"a": {"x": 0.0}}, path=tmp_path / "d.png")
    assert image.ndim == 3
    assert (image != 255).any()


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no panels"):
        matrix_plot([], path=tmp_path / "m.png")
    with pytest.raises(InputError, match="no densities"):
        density_plot({}, path=tmp_path / "d.png")
    with pytest.raises(InputError, match="'b' has layers"):
        density_plot({"a": {"x": 1.0}, "b": {"y": 1.0}}, path=tmp_path / "d.png")
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_is_imported_only_when_something_is_drawn() -> None:
    code = "import sys, rewire.thesis.report.matrix_figures; print('matplotlib' in sys.modules)"
    path = str(Path(sys.modules["rewire"].__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
