"""What decides a result, and the code behind it."""

from __future__ import annotations

import ast

import pytest

from rewire.engine.choice import LARGEST_SHARE
from rewire.identity import SPARSE_FROM, decisive, differences, what_differs
from rewire.pipeline.documents import DOCUMENTS, module_of
from rewire.sources import APART, PACKAGE, closure, code_of, file_of, is_apart

STAGES = [stage for document in DOCUMENTS for stage in document.with_results]


def test_options_that_change_no_result_do_not_decide():
    config = {
        "data": {"root": "x", "source": "folder"},
        "trainer": {"threads": 2, "device": "cpu", "lr": 0.1, "engine": "sparse"},
        "sparsity": 0.99,
    }
    kept = {"data": {"source": "folder"}, "trainer": {"lr": 0.1}, "sparsity": 0.99}
    assert decisive(config) == kept
    assert decisive(config | {"sparsity": 0.5})["trainer"] == {"lr": 0.1, "engine": "sparse"}


def test_the_engine_that_auto_takes_is_known_without_pytorch():
    assert pytest.approx(1 - LARGEST_SHARE) == SPARSE_FROM


def test_differences_are_words():
    before = {"a": {"b": 1, "c": [1, 2]}, "d": None}
    assert differences(before, before) == []
    assert differences(before, {"a": {"b": 2, "c": [1, 2]}, "e": "x"}) == [
        "a.b was 1, is 2",
        "d was None, is not there",
        "e was not there, is x",
    ]
    old = {"code": {"x.py": "1"}, "inputs": {"train": "1"}, "seed": 0}
    assert what_differs(old, old) == ""
    new = {"code": {"x.py": "2"}, "inputs": {"train": "2"}, "seed": 1}
    assert what_differs(old, new) == (
        "other code (x.py) and another train and another configuration (seed was 0, is 1)"
    )


def names_imported(path):
    """What Python's own parser says that a file may import of this package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_of_a_stage_is_all_that_it_imports(stage):
    files = set(closure(module_of(stage)))
    assert file_of(module_of(stage)) in files
    for path in files:
        for name in names_imported(path):
            found = file_of(name)
            assert found is None or found in files or is_apart(name), (path, name)
    assert not any(is_apart("rewire." + ".".join(p.relative_to(PACKAGE).parts)) for p in files)


def test_what_is_found_by_discovery_and_what_is_compiled_are_code_too():
    code = code_of("rewire.thesis.train")
    assert {"objectives/trades.py", "engine/native/engine.cpp", "rng.py", "__init__.py"} <= set(
        code
    )
    assert "attacks/pgd.py" in code_of("rewire.thesis.evaluate")
    assert not any(name.startswith(("tracking", "reporting", "bench")) for name in code)
    assert all(file_of(name) for name in APART)


def test_options_that_came_later_were_off_before():
    old = {"prune": {"name": "lonely"}}
    off = {"prune": {"name": "lonely", "finetune": {"epochs": 0, "lr": 0.01}}}
    on = {"prune": {"name": "lonely", "finetune": {"epochs": 2, "lr": 0.01}}}
    assert differences(old, off) == []
    assert differences(old, on) == ["prune.finetune.epochs was 0, is 2"]
    assert differences(on, old) == ["prune.finetune.epochs was 2, is 0"]
