"""The published numbers, typed here a second time, and the checks on table specifications."""

from __future__ import annotations

import copy
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from rewire.errors import InputError
from rewire.reporting.build_table import build_table
from rewire.reporting.render import explanation
from rewire.reporting.table_spec import load_spec, parse_spec

FOLDER = Path(__file__).parents[2] / "conf" / "thesis" / "table"

# (table, sparsity, objective, variant, metric) -> unstructured, structured, weight-based
PUBLISHED = {
    ("thesis_table1", 0.99, "natural", "trained", "zero"): (2.066, 7.45, 11.77),
    ("thesis_table1", 0.95, "natural", "trained", "zero"): (0, 0.94, 1.086),
    ("thesis_table1", 0.95, "trades", "trained", "zero"): (0.018, 0.57, 1.06),
    ("thesis_table1", 0.99, "natural", "pruned", "zero"): (9.48, 19.145, 24.05),
    ("thesis_table1", 0.95, "trades", "pruned", "zero"): (0.14, 1.125, 1.72),
    ("thesis_table2", 0.99, "natural", "trained", "clean"): (84.89, 84.91, 84.44),
    ("thesis_table2", 0.95, "natural", "trained", "clean"): (87.7, 87.8, 87.6),
    ("thesis_table2", 0.95, "trades", "trained", "clean"): (71.21, 71.01, 70.21),
    ("thesis_table2", 0.99, "natural", "pruned", "clean"): (76.12, 58.29, 73.11),
    ("thesis_table2", 0.95, "trades", "pruned", "clean"): (58.85, 46.76, 64.11),
    ("thesis_table3", 0.95, "trades", "trained", "clean"): (71.19, 71.06, 69.98),
    ("thesis_table3", 0.95, "trades", "trained", "robust"): (40.74, 40.61, 39.46),
    ("thesis_layer8", 0.99, "natural", "trained", "layer8"): (6.25, 15.87, 22.56),
    ("thesis_layer8", 0.99, "natural", "pruned", "layer8"): (22.51, None, 47.41),
}
METRICS = {
    "zero": "structure.zero_vectors.percent",
    "clean": "clean.accuracy",
    "robust": "robust.accuracy",
    "layer8": "structure.layers.8.zero_vectors.percent",
}
HEADERS = {
    "random": "unstructured",
    "l2": "structured",
    "weighted": "weight-based",
    "vector": "vector (ours)",
    "gathered": "gathered (ours)",
}
THESIS = sorted({key[0] for key in PUBLISHED})


@pytest.mark.parametrize("name", THESIS)
def test_every_published_number_is_in_its_table_and_no_other(name: str) -> None:
    spec = load_spec(FOLDER / f"{name}.yaml")
    found = {}
    for row in spec.rows:
        assert set(row.selector) == {"sparsity", "objective", "variant"}
        key = (*(row.selector[field] for field in ("sparsity", "objective", "variant")), row.metric)
        found[key] = tuple(row.published[column] for column in HEADERS)
    expected = {
        (sparsity, objective, variant, METRICS[metric]): (*values, None, None)
        for (table, sparsity, objective, variant, metric), values in PUBLISHED.items()
        if table == name
    }
    assert found == expected


@pytest.mark.parametrize("name", THESIS)
def test_tables_of_the_thesis_share_columns_and_unit(name: str) -> None:
    spec = load_spec(FOLDER / f"{name}.yaml")
    assert spec.name == name
    assert dict(spec.columns) == HEADERS
    assert (spec.unit, spec.direction, spec.axis) == ("%", "higher", "rewire")
    assert spec.tolerance == (2.0 if name == "thesis_layer8" else 1.0)
    assert "Structured Adversarial Rewiring" in spec.source


@pytest.mark.parametrize("name", ["thesis_table1", "thesis_layer8"])
def test_a_network_without_structure_does_not_pass_for_a_structured_one(name: str) -> None:
    spec = load_spec(FOLDER / f"{name}.yaml")
    for row in spec.rows:
        random, *structured = (v for v in row.published.values() if v is not None)
        for column in spec.columns:
            assert all(value - random > spec.tolerance_of(row, column) for value in structured)


def test_a_published_number_is_judged_alike_in_every_table() -> None:
    found = defaultdict(set)
    for path in FOLDER.rglob("*.yaml"):
        spec = load_spec(path)
        for row in spec.rows:
            for column, value in row.published.items():
                if value is not None:
                    found[row.metric, value].add(spec.tolerance_of(row, column))
    assert len(found) > 30
    assert {place: kinds for place, kinds in found.items() if len(kinds) > 1} == {}


@pytest.mark.parametrize("name", ["thesis_table1", "thesis_layer8"])
def test_zero_vector_shares_are_multiples_of_one_vector(name: str) -> None:
    total = {"thesis_table1": 22_747, "thesis_layer8": 2_048}[name]
    for row in load_spec(FOLDER / f"{name}.yaml").rows:
        for value in row.published.values():
            if value is not None:
                nearest = 100 * round(value * total / 100) / total
                assert nearest == pytest.approx(value, abs=0.0051)


def raw() -> dict:
    return yaml.safe_load((FOLDER / "thesis_table3.yaml").read_text("utf-8"))


def test_a_specification_survives_parsing() -> None:
    content = raw()
    untouched = copy.deepcopy(content)
    spec = parse_spec(content)
    assert content == untouched
    labels = [row.label for row in spec.rows]
    assert labels == ["clean", "robust (published by PGD-50, 10 restarts)"]


def test_a_row_may_have_its_own_tolerance() -> None:
    content = raw()
    content["columns"]["l2"]["tolerance"] = 3
    content["rows"][0]["tolerance"] = 0.25
    spec = parse_spec(content)
    found = [[spec.tolerance_of(row, column) for column in ("random", "l2")] for row in spec.rows]
    assert found == [[0.25, 0.25], *[[spec.tolerance, 3]] * (len(spec.rows) - 1)]
    assert "(structured: 3 points, clean: 0.25 points)" in "".join(
        explanation(build_table(spec, [], profile="paper", note="Paper profile."))
    )


def test_the_axis_of_the_columns_can_be_named() -> None:
    assert parse_spec({**raw(), "axis": "method"}).axis == "method"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("source"), "lacks source"),
        (lambda c: c.update(tolerence=2), "'tolerence'. Did you mean 'tolerance'"),
        (lambda c: c.update(direction="up"), "unknown direction in table 'thesis_table3' 'up'"),
        (lambda c: c.update(tolerance=-1), "tolerance is -1"),
        (lambda c: c.update(tolerance="1"), "tolerance is '1'"),
        (lambda c: c.update(columns={}), "columns must map"),
        (lambda c: c.update(columns={"l2": "structured"}), "column 'l2' is 'structured'"),
        (lambda c: c["columns"]["l2"].update(header="unstructured"), "headers of .* not distinct"),
        (lambda c: c.update(rows=[]), "rows must be a list"),
        (lambda c: c.update(rows=[3]), "one row is 3"),
        (lambda c: c["rows"][1].update(label="clean"), "row labels of .* not distinct"),
        (lambda c: c["rows"][0].pop("metric"), "lacks metric"),
        (lambda c: c["rows"][0].update(tolerance=-1), "row 'clean': tolerance is -1"),
        (lambda c: c["rows"][0].update(selector="all"), "selector must map"),
        (lambda c: c["rows"][0]["published"].pop("vector"), "published lacks vector"),
        (lambda c: c["rows"][0]["published"].update(l3=1), "'l3'. Did you mean 'l2'"),
        (lambda c: c["rows"][0]["published"].update(l2="71,06"), "published l2 is '71,06'"),
    ],
)
def test_a_wrong_specification_is_refused_with_its_place(change, message: str) -> None:
    content = raw()
    change(content)
    with pytest.raises(InputError, match=message):
        parse_spec(content)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing table specification .*none\.yaml"):
        load_spec(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("name: [", encoding="utf-8")
    with pytest.raises(InputError, match=r"bad\.yaml' is damaged"):
        load_spec(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n", encoding="utf-8")
    with pytest.raises(InputError, match="Allowed: a mapping"):
        load_spec(tmp_path / "list.yaml")
