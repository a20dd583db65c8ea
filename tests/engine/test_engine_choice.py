"""Which engine is taken, what is said about it, and what is refused with which words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rewire.engine import Inference, choice, library
from rewire.engine.choice import COMPILED_FROM, LARGEST_SHARE, describe, set_engine
from rewire.engine.network import use_engine
from rewire.errors import InputError
from rewire.models.factory import build_model

CPU, GPU = torch.device("cpu"), torch.device("cuda")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Nothing was said, and no build was chosen before."""
    monkeypatch.setattr(choice, "_said", set())
    monkeypatch.delenv(library.FILE, raising=False)
    library._chosen.cache_clear()
    library.open_build.cache_clear()
    yield
    library._chosen.cache_clear()
    library.open_build.cache_clear()


@pytest.fixture
def model():
    return build_model("vgg11", sparsity=0.9, seed=0, width=0.125, image_size=16)


def refused(name, model, device=CPU):
    with pytest.raises(InputError) as error:
        set_engine(name, model, device)
    assert model.runner is None
    return str(error.value)


def test_on_a_cpu_a_sparse_network_is_computed_by_the_engine(engine, model, capsys):
    for name in ("auto", "sparse"):
        assert set_engine(name, model, CPU) == "sparse"
        assert model.runner is not None
    assert describe("sparse") == f"sparse ({engine})"
    assert capsys.readouterr().out == ""


def test_the_choice_can_be_taken_back(engine, model, capsys):
    set_engine("sparse", model, CPU)
    assert set_engine("dense", model, CPU) == "dense"
    assert model.runner is None
    assert describe("dense") == "dense"
    assert capsys.readouterr().out == ""


def test_an_unknown_engine_is_refused_with_the_allowed_ones(model):
    message = refused("spares", model)
    assert "unknown trainer.engine 'spares'" in message
    assert "Did you mean 'sparse'?" in message
    assert "Allowed: auto, compiled, dense, sparse." in message


@pytest.mark.parametrize("share", [0.0, 0.01, LARGEST_SHARE])
def test_few_connections_pay(engine, model, share):
    assert set_engine("auto", model, CPU, share=share) == "sparse"


@pytest.mark.parametrize("share", [LARGEST_SHARE + 1e-6, 1.0])
def test_many_connections_do_not_pay_unless_the_engine_is_asked_for(engine, model, share, capsys):
    assert set_engine("auto", model, CPU, share=share) == "dense"
    assert set_engine("sparse", model, CPU, share=share) == "sparse"
    assert capsys.readouterr().out == ""


def test_without_a_given_share_the_connections_of_now_count(engine, model):
    assert set_engine("auto", model, CPU) == "sparse"
    with torch.no_grad():
        model.theta.fill_(0.1)
    assert set_engine("auto", model, CPU) == "dense"
    with torch.no_grad():
        model.theta[int(LARGEST_SHARE * len(model.theta)) :] = -1
    assert set_engine("auto", model, CPU) == "sparse"
    full = build_model("vgg11", sparsity=0, seed=0, width=0.125, connectivity="dense")
    assert set_engine("auto", full, CPU) == "dense"


def test_on_a_gpu_the_engine_is_refused_and_never_chosen(model, capsys):
    message = refused("sparse", model, GPU)
    assert "trainer.engine is 'sparse', but the device is 'cuda'" in message
    assert "Allowed here: auto, dense; or trainer.device=cpu." in message
    assert set_engine("auto", model, GPU) == "dense"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "epochs", "engine"),
    [
        ("auto", 0, "dense"),
        ("auto", COMPILED_FROM - 1, "dense"),
        ("auto", COMPILED_FROM, "compiled"),
        ("dense", COMPILED_FROM, "dense"),
        ("compiled", 1, "compiled"),
        ("compiled", 0, "dense"),  # what is not trained is not compiled
    ],
)
def test_long_trainings_on_a_gpu_are_compiled(model, name, epochs, engine, monkeypatch):
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda package: object())
    monkeypatch.setattr(choice.shutil, "which", lambda program: f"/usr/bin/{program}")
    assert set_engine(name, model, GPU, epochs=epochs) == engine
    assert model.runner is None


@pytest.mark.parametrize(
    ("device", "triton", "compiler", "why"),
    [
        (CPU, True, True, "the device is a CPU"),
        (GPU, False, True, "Triton is not installed"),
        (GPU, True, False, "there is no C compiler"),
    ],
)
def test_what_cannot_be_compiled_is_refused_and_never_chosen(
    model, device, triton, compiler, why, monkeypatch
):
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda package: triton or None)
    monkeypatch.setattr(choice.shutil, "which", lambda program: program if compiler else None)
    with pytest.raises(InputError) as error:
        set_engine("compiled", model, device, epochs=COMPILED_FROM)
    assert f"trainer.engine is 'compiled', but {why}. Allowed here: auto, dense." in str(
        error.value
    )
    assert set_engine("auto", model, device, share=1.0, epochs=COMPILED_FROM) == "dense"


def test_where_it_is_switched_off_one_line_says_so_once(model, capsys, monkeypatch):
    monkeypatch.setenv(library.CHOICE, "none")
    for _ in range(3):
        assert set_engine("auto", model, CPU) == "dense"
    said = capsys.readouterr().out
    assert said == "the sparse engine is switched off by REWIRE_ENGINE_ISA=none; " + (
        "dense PyTorch is used\n"
    )
    message = refused("sparse", model)
    assert "switched off by REWIRE_ENGINE_ISA=none. Allowed here: auto, dense." in message
    assert set_engine("dense", model, CPU) == "dense"
    assert capsys.readouterr().out == ""


def test_where_it_was_not_built_the_line_says_what_to_install(model, capsys, monkeypatch):
    monkeypatch.delenv(library.CHOICE, raising=False)
    monkeypatch.setattr(library, "built", dict)
    for _ in range(2):
        assert set_engine("auto", model, CPU) == "dense"
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert said.startswith("the sparse engine was not built: install a C++20 compiler")
    assert said.endswith("dense PyTorch is used\n")
    message = refused("sparse", model)
    assert "the sparse engine was not built: install a C++20 compiler" in message
    assert "Allowed here: auto, dense." in message
    with pytest.raises(InputError, match="was not built"):
        library.kernels()


@pytest.mark.parametrize("name", ["auto", "sparse"])
def test_an_unknown_instruction_set_is_refused(model, name, monkeypatch):
    monkeypatch.setenv(library.CHOICE, "sse9")
    message = refused(name, model)
    assert "unknown REWIRE_ENGINE_ISA 'sse9'" in message
    assert "Allowed: avx2, avx512, none, plain." in message


@pytest.mark.parametrize("name", ["auto", "sparse"])
def test_a_build_that_is_missing_is_refused(model, name, monkeypatch):
    monkeypatch.setattr(library, "built", lambda: {"plain": Path("nowhere")})
    monkeypatch.setenv(library.CHOICE, "avx2")
    assert "build 'avx2' is missing. There are: plain." in refused(name, model)


@pytest.mark.parametrize("name", ["auto", "sparse"])
def test_a_build_for_another_processor_is_refused(engine, model, name, monkeypatch):
    monkeypatch.setattr(library, "_supported", lambda isa: False)
    monkeypatch.setattr(library, "built", lambda: {"avx2": Path("nowhere")})
    monkeypatch.setenv(library.CHOICE, "avx2")
    assert "build 'avx2' cannot run on this processor" in refused(name, model)


def test_the_plain_build_is_taken_where_no_other_can_run(engine, model, monkeypatch):
    monkeypatch.setattr(library, "_supported", lambda isa: False)
    library._chosen.cache_clear()
    assert set_engine("auto", model, CPU) == "sparse"
    assert describe("sparse") == "sparse (plain)"


def test_a_build_of_other_sources_is_not_used(engine, model, capsys, monkeypatch):
    monkeypatch.setattr(library, "_is_stale", lambda build: True)
    for cached in (library._chosen, library.open_build, library._loaded):
        cached.cache_clear()
    try:
        assert set_engine("auto", model, CPU) == "dense"
        said = capsys.readouterr().out
        assert "build is older than its source" in said
        assert said.count("\n") == 1
        assert "build is older than its source" in refused("sparse", model)
    finally:
        library._loaded.cache_clear()


def test_without_a_compiler_the_installation_succeeds_and_says_what_is_missing(tmp_path):
    pytest.importorskip("setuptools")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    native = Path("src/rewire/engine/native")
    shutil.copytree(ROOT / native, tmp_path / native)
    (tmp_path / "src/rewire/__init__.py").touch()
    environment = os.environ | {"CC": "no-such-compiler", "CXX": "no-such-compiler"}
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("_kernels_*"))
    said = [line for line in done.stdout.splitlines() if line.startswith("rewire:")]
    assert len(said) == 1
    assert "the sparse engine was not built, dense PyTorch will be used" in said[0]
    assert "install a C++20 compiler" in said[0]


@pytest.mark.parametrize("shape", [(1, 2, 32, 32), (20, 4, 32, 32), (1, 3, 16, 16)])
def test_images_that_do_not_fit_the_network_are_refused(shape):
    model = use_engine(build_model("vgg11", sparsity=0.9, seed=0, width=0.1)).eval()
    for call in (model, Inference(model)):
        with pytest.raises(InputError, match="do not fit"), torch.no_grad():
            call(torch.rand(shape))
