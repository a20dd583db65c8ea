"""The report in a real browser: it sorts, explains, switches and zooms without a complaint."""

from __future__ import annotations

import itertools
import os
import shutil
from dataclasses import replace

import pytest
from helpers.toys_report import STRATEGIES, TRICKY, audit, report, sweep, thesis, view

from rewire.reporting.html.page import render_report
from rewire.thesis.report.charts import sanity_gallery

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'"
)
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(render_report(report()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    # Chromium refuses its sandbox to the superuser, as whom containers run.
    flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, address):
    """Opens the page; at the end of the test nothing may have been complained of or asked for."""
    opened, said, asked, visited = [], [], [], set()
    standard = address

    def go(size=WIDE, *, address=standard, **options):
        visited.add(address)
        page = browser.new_page(viewport=size, **options)
        page.set_default_timeout(120_000)  # ms; many tests may run at once on few cores
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        opened.append(page)
        return page

    yield go
    for page in opened:
        page.close()
    assert not said
    assert {url for url in asked if not url.startswith("data:")} <= visited


def texts(page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_page_of_a_sweep_has_no_empty_places(visit, tmp_path, size):
    path = tmp_path / "sweep.html"
    path.write_text(render_report(sweep()), encoding="utf-8")
    page = visit(size, address=path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert "not run" not in texts(page, ".number .ours")
    assert page.locator("#cells table").is_visible()
    page.locator("#thesis_table2 thead button").last.click()
    last = page.locator("#thesis_table2 tbody td:last-child")
    ours = [float(cell.get_attribute("data-ours")) for cell in last.all()]
    assert ours == sorted(ours)
    page.locator("#thesis_table2 .number").last.click()
    assert "images right" in page.locator("#explain").inner_text()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_as_wide_as_the_window_and_as_light_as_its_reader_wants(visit, size, scheme):
    page = visit(size, color_scheme=scheme)
    for folded in page.locator("details").all():
        folded.evaluate("node => { node.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour) == "rgb(255, 255, 255)"
    assert light == (scheme == "light")
    page.click("#theme")
    assert (page.evaluate(colour) == "rgb(255, 255, 255)") != light


def test_a_column_of_numbers_sorts_both_ways_by_what_is_chosen(visit):
    page = visit()
    cells = view("thesis_table1").table.rows()
    header = page.locator("#thesis_table1 thead button").nth(1)
    header.click()
    ours = [row[0].ours for row in cells]
    column = "#thesis_table1 tbody td:nth-child(2)"

    def shown(name):
        return [float(c.get_attribute(f"data-{name}")) for c in page.locator(column).all()]

    assert shown("ours") == sorted(ours)
    header.click()
    assert shown("ours") == sorted(ours, reverse=True)
    page.select_option("#thesis_table1 .by", "published")
    assert shown("published") == sorted(row[0].published for row in cells)
    assert page.locator("#thesis_table1 thead th").nth(1).get_attribute("aria-sort") == "ascending"


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_long_table_shows_its_first_rows_until_all_are_asked_for(visit, size):
    page = visit(size)
    rows = page.locator("#article_table1 tbody tr")
    assert [row.is_visible() for row in rows.all()].count(True) == 6 < rows.count()
    page.click("#article_table1 .more")
    assert all(row.is_visible() for row in rows.all())
    page.click("#article_table1 .more")
    assert [row.is_visible() for row in rows.all()].count(True) == 6


def test_other_tables_sort_by_value_and_leave_what_is_missing_last(visit):
    page = visit()
    header = page.locator("#cells thead button").nth(1)
    header.click()
    first = "#cells tbody td:first-child"
    assert texts(page, first) == ["b", "a", "c"]  # 9.5 before 10.25, as numbers
    header.click()
    assert texts(page, first) == ["a", "b", "c"]


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_click_on_a_number_explains_it(visit, size):
    page = visit(size)
    assert not page.locator("#explain").is_visible()
    page.click(f"[data-explain='thesis_table3-1-{STRATEGIES.index('weighted')}']")
    text = page.locator("#explain").inner_text()
    assert "14 of 100 images right" in text
    assert "rewire thesis evaluate rewire=weighted" in text
    assert "0123456789ab" in text
    assert TRICKY in text
    page.click("#explain .close")
    assert not page.locator("#explain").is_visible()


def test_a_link_to_something_folded_unfolds_it(visit):
    page = visit()
    assert not page.locator("#thesis_paired table").is_visible()
    page.click("a[href='#thesis_paired']")
    assert page.locator("#thesis_paired table").is_visible()


def test_a_chart_of_one_network_says_which_one(visit, tmp_path):
    one = replace(thesis(), sanity=sanity_gallery({"trades-s0.95": {"l2": audit()}}))
    path = tmp_path / "one.html"
    path.write_text(render_report(report(thesis=one)), encoding="utf-8")
    page = visit(address=path.as_uri())
    assert texts(page, "#sanity .switches") == ["training trades-s0.95"]
    assert texts(page, "#sanity .legend button") == ["l2"]


def test_training_curves_switch_between_trainings_layers_and_strategies(visit):
    page = visit()
    lines = page.locator("#training .panel").first.locator("polyline.line")
    assert lines.count() == len(STRATEGIES)
    assert texts(page, "#training header span")[3] == "density of conv1, % connected"
    page.locator("#training header select").last.select_option("dense1")
    assert texts(page, "#training header span")[3] == "density of dense1, % connected"
    page.get_by_role("button", name="natural-s0.95").last.click()
    assert texts(page, "#training header span")[3] == "density of dense1, % connected"
    page.locator("#training .legend button").first.click()
    assert lines.count() == len(STRATEGIES) - 1


def test_a_curve_shows_ours_beside_the_published_value_under_the_pointer(visit):
    page = visit()
    plots = page.locator("#curves .switches select")
    plots.select_option(label="ANN: activated-value pruning of all layers but the output")
    drawing = page.locator("#curves svg").first
    assert drawing.locator("circle.mark").count() > 100
    box = drawing.bounding_box()
    drawing.hover(position={"x": 50, "y": box["height"] / 2})
    rows = texts(page, "#curves .tip tr")
    assert rows[0].split() == ["0", "ours", "published"]
    clean = next(row for row in rows if row.startswith("clean"))
    assert clean.split()[1:] == ["98.6", "98.6"]
    plots.select_option(label="CNN: activated-value pruning of dense2")
    assert page.locator("#curves path.mark").count() > 0  # the author's own repeat


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_labels_of_an_axis_keep_apart(visit, size):
    boxes = visit(size).evaluate(
        """() => [...document.querySelectorAll(".chart svg")].map((chart) => {
          const labels = [...chart.querySelectorAll("text[text-anchor=middle]")].slice(0, -1);
          return labels.map((label) => [label.getBoundingClientRect().left,
                                        label.getBoundingClientRect().right]);
        })"""
    )
    assert any(len(chart) > 2 for chart in boxes)
    for chart in boxes:
        for (_, end), (start, _) in itertools.pairwise(sorted(chart)):
            assert end < start


@pytest.mark.parametrize("width", [560, 640, 1000])  # where the words above some take two lines
def test_matrices_beside_each_other_begin_at_one_height(visit, width):
    canvases = visit({"width": width, "height": 900}).locator(".matrices canvas").all()
    rows = {round(canvas.bounding_box()["y"]) for canvas in canvases}
    assert len(rows) == (1 if width == 1000 else 2)


def test_matrices_switch_zoom_and_tell_a_single_weight(visit):
    page = visit()
    canvases = page.locator(".matrices canvas")
    assert canvases.count() == len(STRATEGIES)
    names = "canvases => canvases.map((each) => each.getAttribute('aria-label'))"
    assert canvases.evaluate_all(names)[0] == "random, dense2: connected weights"
    page.get_by_role("button", name="figures 6-8").click()
    assert canvases.evaluate_all(names)[1] == "l2, dense1: connected weights"
    page.get_by_role("button", name="weighted").first.click()
    assert canvases.evaluate_all(names) == ["weighted, dense1: connected weights"]
    page.locator(".matrices select, .matrices [aria-label=layer] button").last.click()
    before = canvases.first.evaluate("node => node.toDataURL()")
    page.get_by_role("button", name="zoom in").click()
    assert canvases.first.evaluate("node => node.toDataURL()") != before
    page.get_by_role("button", name="whole matrix").click()
    canvases.first.click(position={"x": 30, "y": 30})
    assert "weighted, dense2: input" in page.locator(".readout").inner_text()


def test_the_weights_that_are_told_are_the_network_s(visit):
    """Every place of a small layer, asked one by one."""
    from helpers.toys_report import network

    page = visit()
    weight = network(0)["dense2"]
    told = page.evaluate(
        """() => {
          const layer = data("matrices").nets[0].layers[2];
          const { lookup, values } = unpack(layer);
          return [...lookup].map(([place, i]) => [place % layer.outputs,
            Math.floor(place / layer.outputs), values[i] * layer.largest / 127]);
        }"""
    )
    assert {(int(o), int(v)) for o, v, _ in told} == {
        (int(o), int(v)) for o, v in zip(*weight.nonzero(), strict=True)
    }
    for output, vector, value in told:
        assert value == pytest.approx(weight[output, vector], abs=abs(weight).max() / 127)
