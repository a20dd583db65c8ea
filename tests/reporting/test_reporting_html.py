"""The report's HTML without a browser: numbers, links, data, and that it loads nothing."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from helpers.toys_report import PNG, STRATEGIES, TRICKY, article, report, sweep, thesis

from rewire.reporting.html.model import RowsView
from rewire.reporting.html.page import as_data, render_report
from rewire.reporting.render import difference_text, interval_text, value_text

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Every element with its attributes and text; complains about tags that do not fit."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[dict] = []
        self.open: list[dict] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "attrs": dict(attrs), "text": "", "within": list(self.open)}
        assert len(attrs) == len(dict(attrs)), (tag, attrs)
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open[-1]["tag"] == tag, (tag, self.open[-1], self.getpos())
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **attributes):
        return [
            e
            for e in self.elements
            if e["tag"] == tag and all(e["attrs"].get(k) == v for k, v in attributes.items())
        ]

    def with_class(self, name, within=None):
        return [
            e
            for e in self.elements
            if name in (e["attrs"].get("class") or "").split()
            and (within is None or any(w is within for w in e["within"]))
        ]


@pytest.fixture(scope="module")
def text():
    return render_report(report())


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_every_element_is_closed_and_every_id_is_there_once(page):
    ids = Counter(e["attrs"]["id"] for e in page.elements if "id" in e["attrs"])
    assert not [name for name, count in ids.items() if count > 1]
    links = {e["attrs"]["href"] for e in page.all("a")}
    assert links
    for link in links:
        assert link.startswith("#")
        assert link[1:] in ids
    numbers = [e["attrs"]["data-explain"] for e in page.elements if "data-explain" in e["attrs"]]
    assert numbers
    assert all(f"x-{name}" in ids for name in numbers)


def test_the_page_loads_nothing(text, page):
    for element in page.elements:
        for name in ("src", "srcset", "href", "data", "action", "poster"):
            value = element["attrs"].get(name)
            assert value is None or value.startswith(("#", "data:")), (element["tag"], value)
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest|\bimport\s*\(", text)
    found = set(re.findall(r"https?://[^\s\"'<)]+", text))
    assert found == {"http://www.w3.org/2000/svg"}  # a name, which nothing loads


@pytest.mark.parametrize("part", ["thesis", "article"])
def test_every_number_is_the_table_s(page, part):
    views = thesis().tables if part == "thesis" else (article().table,)
    for view in views:
        (figure,) = page.all("figure", id=view.table.spec.name)
        cells = [e for e in page.all("td") if any(w is figure for w in e["within"])]
        there = [view.rows[i][j].cell for i in view.rows_run for j in view.columns_run]
        assert len(cells) == len(there) > 0
        for element, cell in zip(cells, there, strict=True):
            for name in ("ours", "published", "difference"):
                written, value = element["attrs"][f"data-{name}"], getattr(cell, name)
                assert (float(written) if written else None) == value
            (ours,) = page.with_class("ours", within=element)
            assert ours["text"] == value_text(cell)
            intervals = [e["text"] for e in page.with_class("ci", within=element)]
            assert intervals == [interval_text(cell)] if cell.ci95 else not intervals
            differences = [e["text"] for e in page.with_class("difference", within=element)]
            assert differences == ([difference_text(cell)] if cell.difference is not None else [])


def test_an_explanation_says_counts_file_command_commit_flags_and_doubts(page):
    def explained(column):
        (template,) = page.all("template", id=f"x-thesis_table3-1-{column}")
        return template["text"]

    (l2,), (weighted,) = ([explained(STRATEGIES.index(s))] for s in ("l2", "weighted"))
    for said in (
        "13 of 100 images right",
        "quick/evaluate/trades-s0.95-l2-seed0/metrics.json",
        "trained.robust.accuracy",
        "rewire thesis evaluate rewire=l2",
        "0123456789ab",
        "Seed 0",
        "† noise fools more",
        "40.61 (Structured Adversarial Rewiring",
    ):
        assert said in l2
    assert TRICKY not in l2
    assert TRICKY in weighted
    assert "was not examined" in weighted


def test_data_of_scripts_is_json_whatever_a_label_holds(page):
    scripts = page.all("script", type="application/json")
    names = {e["attrs"]["id"] for e in scripts}
    assert {"data-training", "data-curves", "data-sanity", "data-matrices"} <= names
    for script in scripts:
        assert json.loads(script["text"])
    assert json.loads(as_data({"label": TRICKY})) == {"label": TRICKY}
    assert "</" not in as_data({"label": TRICKY})


def test_text_is_escaped_and_warnings_stand_on_top(page, text):
    (warnings,) = page.with_class("warnings")
    assert TRICKY in warnings["text"]
    assert "</script><b>" not in text
    assert text.index('class="warnings"') < text.index('class="findings"')


def test_every_claim_is_there_with_criterion_and_numbers(page):
    (claims,) = page.with_class("claims")
    items = [e for e in page.all("li") if any(w is claims for w in e["within"])]
    assert [item["text"].split()[0] for item in items] == list("abcdefghijklm")
    for item, claim in zip(items, article().claims, strict=True):
        assert claim.criterion in item["text"]
        assert claim.verdict in item["text"]
        assert all(line in item["text"] for line in claim.numbers)


def test_pictures_are_in_the_page(page):
    (image,) = page.all("img")
    data = image["attrs"]["src"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(data) == PNG


@pytest.mark.parametrize("missing", ["thesis", "article"])
def test_one_document_alone_makes_a_page(missing):
    page = Page(render_report(report(**{missing: None})))
    assert not page.all("section", id=missing)
    assert page.all("section", id="provenance")
    ids = {e["attrs"]["id"] for e in page.elements if "id" in e["attrs"]}
    assert {e["attrs"]["href"][1:] for e in page.all("a")} <= ids


def test_a_sweep_s_page_has_its_numbers_and_names_what_was_not_run():
    page = Page(render_report(sweep()))
    (figure,) = page.all("figure", id="thesis_table2")
    labels = [
        e["text"] for e in page.all("th", scope="row") if any(w is figure for w in e["within"])
    ]
    assert labels == ["99 % natural", "95 % natural", "about 99 % natural, pruned"]
    (key,) = page.with_class("key", within=figure)
    assert (
        "Not run here: 95 % TRADES; about 95 % TRADES, pruned; vector (ours); gathered (ours)."
        in key["text"]
    )
    assert "not run" not in figure["text"]
    (sanity,) = page.all("p", id="sanity")
    assert "It was not examined" in sanity["text"]
    ids = {e["attrs"]["id"] for e in page.elements if "id" in e["attrs"]}
    assert {e["attrs"]["href"][1:] for e in page.all("a")} <= ids
    (lead, reproduced) = page.with_class("lead")
    assert lead["text"].startswith("One document")
    assert "nothing is judged" in reproduced["text"]


def test_networks_that_were_only_trained_are_not_said_to_lack_an_examination():
    found = sweep()
    cells = RowsView("cells", "All cells", ({"cell": "a", "robust %": None},))
    text = render_report(replace(found, thesis=replace(found.thesis, cells=cells)))
    (sanity,) = Page(text).all("p", id="sanity")
    assert sanity["text"] == "No network in this folder was attacked (stage evaluate)."


def test_counts_are_written_as_people_read_them(page):
    (figure,) = page.all("figure", id="cells")
    assert "13,805" in figure["text"]


def test_few_networks_are_listed_many_fold():
    def folded(count):
        rows = tuple({"cell": f"c{i}"} for i in range(count))
        found = replace(thesis(), cells=RowsView("cells", "All cells", rows))
        page = Page(render_report(report(thesis=found)))
        (figure,) = page.all("figure", id="cells")
        return any(any(w is figure for w in e["within"]) for e in page.all("summary"))

    assert not folded(6)
    assert folded(12)


def test_the_same_report_is_the_same_text(text):
    assert render_report(report()) == text
