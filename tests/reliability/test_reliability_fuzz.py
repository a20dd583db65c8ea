"""Malformed configurations and damaged files: an error line or a result, never anything else.

The default suite draws a sample of each kind, `-m reliability` a thousand.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import shutil
import types

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from rewire import cli as entry
from rewire.attacks.universal_files import load_noise, save_noise
from rewire.data import cifar10, embedded, mnist
from rewire.errors import InputError
from rewire.evaluation.ledger import load_ledger, save_ledger
from rewire.files import read_json, write_json
from rewire.models.artifact import load_dense, load_network, save_dense, save_network
from rewire.models.dense import build_dense
from rewire.models.factory import build_model
from rewire.options import children
from rewire.pipeline.cell import Cell
from rewire.pipeline.schema import schema_of

QUIET = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large)


def examples(sample: int, many: int = 1000):
    """The parameter `count`: a sample for every day, and many as a proof."""
    return pytest.mark.parametrize(
        "count", [sample, pytest.param(many, marks=pytest.mark.reliability)]
    )


def drawn(count: int, **strategies):
    """Call a function `count` times with draws, the same ones on every machine."""

    def run(function) -> None:
        quiet = settings(
            max_examples=count, deadline=None, derandomize=True, database=None,
            suppress_health_check=QUIET,
        )  # fmt: skip
        quiet(given(**strategies)(function))()

    return run


def options(schema, prefix=""):
    """Every option and section of a document by its path."""
    for key, kind in (children(schema) or {}).items():
        path = prefix + key.replace("*", "ann")
        if path != "output":
            yield path
        yield from options(kind, f"{path}.")


NOT_ARGUMENTS = st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")
VALUES = st.one_of(
    st.sampled_from([
        "", "null", "true", "-1", "0", "0.5", "1", "2.5", "1e400", "nan", "inf", "-inf", "abc",
        "[]", "{}", "[1,2]", "[[1]]", "[[1,2]]", "{a:1}", "[abc]", "1,2", "???", "1" * 30,
        "${nope}", "${seed}", "${trainer.lr}", "${oc.env:NOPE}", "${", "${${seed}}",
        "${oc.env:PATH}", "../../x", "/etc", "'a b'", "'; rm -rf x'", "$(id)", "`id`", "'\n'", "é",
        "_target_",
        "{_target_: os.system}", "range(0,3)", "glob(*)", "choice(a,b)", "interval(0,1)", "'",
        "random", "trades", "cnn", "sce", "quick", "a" * 5000, "[" * 200, "shuffle(1,2)",
    ]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(NOT_ARGUMENTS, max_size=20),
)  # fmt: skip


def overrides(schema):
    keys = st.one_of(
        st.sampled_from(sorted(options(schema))),
        st.sampled_from(sorted(options(schema))).flatmap(
            lambda key: st.integers(0, len(key) - 1).map(lambda i: key[:i] + key[i + 1 :])
        ),
        st.sampled_from(["experiment", "profile", "hydra.run.dir", "hydra", "model@x", "table"]),
        # Whatever starts with a dash is a flag.
        st.text(NOT_ARGUMENTS, max_size=8).filter(lambda text: not text.startswith("-")),
    )
    one = st.builds(
        lambda prefix, key, equals, value: f"{prefix}{key}{equals}{value}",
        st.sampled_from(["", "", "", "", "+", "++", "~"]),
        keys,
        st.sampled_from(["=", "=", "=", "=", "=", "==", ""]),
        VALUES,
    ).filter(lambda text: not text.startswith("-"))
    return st.lists(one, min_size=1, max_size=4)


@examples(12, many=500)
@pytest.mark.parametrize(
    ("stage", "document"), [("evaluate", "thesis"), ("article_noise", "article")]
)
def test_malformed_configurations(count, stage, document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reached = []
    module = types.SimpleNamespace(run=lambda config, given: reached.append((config, given)))
    loaded = types.SimpleNamespace(import_module=lambda name: module)
    monkeypatch.setattr(entry, "importlib", loaded)
    monkeypatch.setattr(entry, "gc", types.SimpleNamespace(freeze=int, enable=int))
    output = tmp_path / "output"

    @drawn(count, arguments=overrides(schema_of(document)))
    def check(arguments):
        reached.clear()
        shutil.rmtree(output, ignore_errors=True)
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                entry.launch(stage, [*arguments, f"output={output}"])
                code = 0
            except SystemExit as stop:
                code = stop.code
        lines = said.getvalue().split("\n")[:-1]
        if code == 2:
            assert lines
            assert all(line.startswith(("error: ", "warning: ")) for line in lines)
            assert not reached
            assert not list(tmp_path.iterdir())
            return
        assert code == 0
        ((config, given),) = reached
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        folder = Cell(stage, plain, tuple(given)).folder.resolve()
        assert folder.relative_to(output.resolve()).parts[1] == stage
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def damages(content: bytes):
    """The content with flipped, missing, added or other bytes; often in its first part."""
    places = st.one_of(st.integers(0, min(400, len(content) - 1)), st.integers(0, len(content) - 1))

    def flipped(changes):
        damaged = bytearray(content)
        for place, bits in changes:
            damaged[place] ^= bits
        return bytes(damaged)

    flips = st.lists(st.tuples(places, st.integers(1, 255)), min_size=1, max_size=4)
    return st.one_of(
        flips.map(flipped),
        places.map(lambda place: content[:place]),
        st.binary(min_size=1, max_size=50).map(lambda more: content + more),
        st.binary(max_size=200),
        st.tuples(places, places).map(lambda ab: content[: ab[0]] + content[ab[1] :]),
    ).filter(lambda damaged: damaged != content)


def check_reader(path, read, count, *, refused: bool = False, named: bool = True):
    """Damage `path` again and again: `read` names it in an InputError, or gives a result.

    `refused`: it may give none. `named=False`: not every message names the file.
    """
    content = path.read_bytes()
    seen = []

    @drawn(count, damaged=damages(content))
    def check(damaged):
        path.write_bytes(damaged)
        try:
            read(path)
            seen.append("read")
        except InputError as error:
            said = str(error)
            there = not named or path.name in said or str(path.parent) in said
            seen.append("refused" if there else said)

    path.write_bytes(content)
    read(path)
    assert "refused" in seen
    assert set(seen) <= ({"refused"} if refused else {"refused", "read"})


DENSE = {"name": "ann", "width": 0.01, "dropout": "none"}
SPARSE = {"name": "vgg11", "width": 0.1, "classes": 10, "image_size": 32}


@examples(60)
def test_damaged_networks(count, tmp_path):
    path = tmp_path / "dense.safetensors"
    save_dense(path, build_dense(**DENSE, seed=0), spec=DENSE)
    check_reader(path, lambda path: load_dense(path, expected=DENSE), count)
    check_reader(path, load_dense, count)


@examples(25)
def test_damaged_sparse_networks(count, tmp_path):
    path = tmp_path / "sparse.safetensors"
    save_network(path, build_model(**SPARSE, sparsity=0.9, seed=0), spec=SPARSE)
    check_reader(path, lambda path: load_network(path, expected=SPARSE), count)


@examples(60)
def test_networks_with_tensors_of_other_shapes_and_kinds(count, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_dense(path, build_dense(**DENSE, seed=0), spec=DENSE)
    whole = load_file(path)
    kinds = [torch.float32, torch.float64, torch.int64, torch.bool, torch.float16]

    @drawn(
        count,
        name=st.sampled_from([*whole, "another"]),
        shape=st.lists(st.integers(0, 20), max_size=4),
        kind=st.sampled_from(kinds),
        spec=st.sampled_from(['{"name": "ann"}', "3", "null", "[]", '{"width": NaN}', "{", ""]),
        own=st.booleans(),
    )
    def check(name, shape, kind, spec, own):
        own_spec = '{"name": "ann", "width": 0.01, "dropout": "none"}'
        if name in whole and tuple(shape) == whole[name].shape:
            return  # of another kind at most, which is converted
        other = whole | {name: torch.zeros(shape, dtype=kind)}
        save_file(other, path, metadata={"model": own_spec if own else spec})
        with pytest.raises(InputError):
            load_dense(path)


@examples(40)
def test_damaged_noise_ledgers_and_numbers(count, tmp_path):
    noise, ledger, numbers = (tmp_path / n for n in ("n.safetensors", "l.npz", "m.json"))
    save_noise(noise, torch.zeros(2, 784), pairs=[[3, 0.25], [2, 0.25]], variant="G1")
    check_reader(noise, load_noise, count, named=False)
    save_ledger(ledger, {"indices": np.arange(3), "robust_correct": np.ones(3, bool)})
    check_reader(ledger, load_ledger, count)
    write_json(numbers, {"clean": {"accuracy": 50.0, "total": 100}})
    check_reader(numbers, read_json, count)


@examples(60)
def test_damaged_cifar10(count, tmp_path, monkeypatch):
    folder = tmp_path / cifar10.BINARY_FOLDER
    folder.mkdir()
    path = folder / "test_batch.bin"
    path.write_bytes(np.random.default_rng(0).integers(0, 10, 3 * cifar10.RECORD, np.uint8))
    official = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(cifar10.SHA256, path.name, official)
    check_reader(
        path,
        lambda path: cifar10.load_cifar10(source="folder", root=tmp_path, split="test"),
        count,
        refused=True,
    )


@examples(60)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_mnist(count, packed, tmp_path, monkeypatch):
    folder = tmp_path / mnist.FOLDER
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, size in zip(mnist.FILES["test"], (16 + 3 * 784, 8 + 3), strict=True):
        content = random.integers(0, 10, size, np.uint8).tobytes()
        monkeypatch.setitem(mnist.SHA256, name, hashlib.sha256(content).hexdigest())
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    path = folder / (mnist.FILES["test"][0] + (".gz" if packed else ""))
    # A packed file has bytes without meaning, e.g. its time.
    check_reader(
        path,
        lambda path: mnist.load_mnist(source="folder", root=tmp_path, split="test"),
        count,
        refused=not packed,
    )


@examples(12, many=500)
@pytest.mark.parametrize("name", ["mnist_test.webp", "mnist_labels.npz"])
def test_damaged_embedded_images(count, name, tmp_path):
    for file in ("mnist_test.webp", "mnist_labels.npz"):
        shutil.copy(embedded.FOLDER / file, tmp_path / file)
    check_reader(
        tmp_path / name,
        lambda path: embedded.load_embedded("test", dataset="mnist", folder=tmp_path),
        count,
    )
