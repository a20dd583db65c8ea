"""Every table of conf/table is written whole, whatever part of it has been run."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from helpers.toys_results import Toy

from rewire.evaluation.statistics import Accuracy
from rewire.reporting.build_table import build_table, write_table
from rewire.reporting.table import VERDICTS
from rewire.reporting.table_spec import load_spec

SPECS = sorted((Path(__file__).parents[2] / "conf" / "thesis" / "table").glob("*.yaml"))
NOTE = "Some profile in words."


def every_result(spec, *, profile: str, seeds: range) -> list[Toy]:
    """A result with all metrics for every cell of `spec`."""
    results = {}
    for row in spec.rows:
        for column in spec.columns:
            for seed in seeds:
                fields = {**row.selector, spec.axis: column, "seed": seed}
                toy = Toy(**fields, profile=profile, metrics={})
                node = results.setdefault(json.dumps(fields), toy).metrics
                *path, name, last = row.metric.split(".")
                for key in path:
                    node = node.setdefault(key, {})
                if last == "accuracy":
                    node[name] = Accuracy.counted(50 + seed, 100)
                else:
                    node.setdefault(name, {})[last] = 50.0 + seed
    # Lists of layers are given as lists, as the structure report has them.
    for entry in results.values():
        structure = entry.metrics.get("structure", {})
        if layers := structure.get("layers"):
            structure["layers"] = [layers.get(str(i), {}) for i in range(11)]
    return list(results.values())


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
@pytest.mark.parametrize("amount", ["complete", "partial", "empty"])
@pytest.mark.parametrize("profile", ["paper", "quick"])
def test_every_table_is_written_whole(path, amount: str, profile: str, tmp_path: Path) -> None:
    spec = load_spec(path)
    results = every_result(spec, profile=profile, seeds=range(2))
    results = {"complete": results, "partial": results[:3], "empty": []}[amount]
    written = write_table(build_table(spec, results, profile=profile, note=NOTE), tmp_path)
    assert written == [
        tmp_path / f"{spec.name}{suffix}" for suffix in (".md", ".csv", ".tex", ".json")
    ]
    markdown, table, latex, content = (file.read_text("utf-8") for file in written)
    cells = check_json(json.loads(content), spec, profile)
    ran = sum(cell["ours"] is not None for cell in cells)
    assert {"complete": ran == len(cells), "partial": 0 < ran < len(cells), "empty": ran == 0}[
        amount
    ]

    assert markdown.startswith(f"# {spec.title}\n\n**{NOTE}**\n")
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(spec.rows)
    assert "".join(lines).count("not run") == len(cells) - ran
    for line in lines:
        texts = [text.strip() for text in line.strip("|").split("|")]
        assert len(texts) == 1 + len(spec.columns)
        assert all(texts)

    records = list(csv.DictReader(io.StringIO(table)))
    assert len(records) == len(cells)
    assert all(value for record in records for value in record.values())
    assert [record["ours"] == "not run" for record in records] == [c["ours"] is None for c in cells]

    body = latex[latex.index(r"\midrule") : latex.index(r"\bottomrule")].splitlines()[1:-1]
    assert len(body) == 2 * len(spec.rows)
    assert all(line.count("&") - line.count(r"\&") == len(spec.columns) for line in body)
    assert not re.search(r"(?<!\\)%", latex)


def check_json(content: dict, spec, profile: str) -> list[dict]:
    """The cells, after checking keys, types and consistency."""
    assert set(content) == {"table", "profile", "cells"}
    assert (content["table"], content["profile"]) == (spec.name, profile)
    places = [(row.label, header) for row in spec.rows for header in spec.columns.values()]
    assert [(cell["row"], cell["column"]) for cell in content["cells"]] == places
    keys = {"row", "column", "ours", "published", "n", "ci95", "verdict", "difference", "interval",
            "flags", "examined", "attacked", "outdated"}  # fmt: skip
    for cell in content["cells"]:
        assert set(cell) == keys
        assert cell["verdict"] in VERDICTS
        assert cell["interval"] in ("seeds", "images", None)
        assert isinstance(cell["n"], int)
        assert (cell["n"] == 0) == (cell["ours"] is None) == (cell["verdict"] == "not run")
        assert (cell["ci95"] is None) == (cell["interval"] is None)
        if cell["ci95"] is not None:
            low, high = cell["ci95"]
            assert low <= cell["ours"] <= high
        robust = next(r for r in spec.rows if r.label == cell["row"]).metric.startswith("robust")
        assert cell["flags"] == (None if robust and cell["n"] else [])
        if profile != "paper":
            assert cell["verdict"] not in ("within tolerance", "differs")
    return content["cells"]
