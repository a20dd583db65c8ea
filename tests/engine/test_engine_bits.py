"""The same bits on any number of threads, and from builds of any width with fused products."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from helpers.toys_engine import STORAGES, layer, random_mask, relative, run_engine, seeded
from torch import nn

from benchmarks.workload import BareLoop, sparse_network
from rewire.engine import Inference, library
from rewire.engine.network import use_engine
from rewire.engine.plan import Plan
from rewire.engine.steps import Weights
from rewire.errors import InputError
from rewire.models.factory import build_model

CPU = torch.device("cpu")
NATIVE = Path(library.__file__).parent / "native"
# Those of setup.py that decide about bits.
FLAGS = ["-std=c++20", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-pthread"]


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def layer_results(storage):
    """Outputs and gradients of layers whose work is shared out in different ways."""
    found = {}
    for number, (inputs, outputs, size, kernel, stride, images) in enumerate(
        [
            (3, 20, 16, 3, 1, 5),
            (40, 30, 8, 3, 1, 70),
            (24, 24, 7, 3, 2, 40),
            (60, 50, 2, 3, 1, 130),
            (70, 60, 1, 3, 1, 150),
            (9, 9, 6, 1, 2, 33),
            (7, 5, 9, 5, 3, 20),
        ]
    ):
        mask = random_mask((outputs, kernel, kernel, inputs), density=0.1, seed=number)
        of = layer(mask, (size, size), stride=stride, padding=kernel // 2, storage=storage)
        x = torch.randn(images, inputs, size, size, generator=seeded(number))
        out = -(-size // stride)
        gradient = torch.randn(images, outputs, out, out, generator=seeded(number + 1))
        for name, value in zip("ybw", run_engine(of, x, gradient, storage), strict=True):
            found[f"layer {number} {name}"] = value
    return found


def norm_results(storage):
    """Outputs, gradients and statistics of BatchNorm in all its forms."""
    found = {}
    for train in (True, False):
        for tail in ([], [nn.ReLU()], [nn.MaxPool2d(2)], [nn.ReLU(), nn.MaxPool2d(2)]):
            body = nn.Sequential(nn.BatchNorm2d(6), *tail).train(train)
            x = torch.randn(75, 6, 9, 7, generator=seeded(0)).requires_grad_()
            y = Plan(body)(x, Weights((), []), storage)
            y.backward(torch.randn(y.shape, generator=seeded(1)))
            name = f"norm {train} {len(tail)} {tail[:1]}"
            found |= {f"{name} y": y.detach(), f"{name} x": x.grad}
            found |= {f"{name} {n}": p.grad for n, p in body.named_parameters()}
            found |= {f"{name} {n}": b.clone() for n, b in body.named_buffers()}
    return found


def network_results(storage):
    """Logits and gradients of a network, and logits by its own function for inference."""
    found = {}
    spec = {"sparsity": 0.8, "seed": 0, "width": 0.125, "image_size": 16}
    model = use_engine(build_model("resnet18", p_init_first=(0.2,), **spec))
    x = torch.rand(37, 3, 16, 16, generator=seeded(0))
    for mode in (True, False):
        model.train(mode).zero_grad()
        with torch.autocast("cpu", enabled=storage == torch.bfloat16, dtype=torch.bfloat16):
            logits = model(x)
        logits.backward(torch.randn(logits.shape, generator=seeded(1)))
        found[f"logits {mode}"] = logits.detach()
        for name, parameter in model.named_parameters():
            g = parameter.grad
            found[f"{name} {mode}"] = g.to_dense() if g.is_sparse else g
    if storage == torch.float32:
        for images in (1, 20):
            found[f"inference {images}"] = Inference(model)(x[:images])
    return found


def all_results(storage):
    return layer_results(storage) | norm_results(storage) | network_results(storage)


def assert_same_bits(given, expected):
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        assert value.dtype == given[name].dtype
        assert value.numpy().tobytes() == given[name].numpy().tobytes(), name


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_one_two_and_three_threads_compute_the_same_bits(build, storage):
    expected = all_results(storage)
    for count in (2, 3):
        with threads(count):
            assert_same_bits(all_results(storage), expected)


def trained(precision, objective="natural", steps=4):
    """Everything that a short training leaves behind."""
    model = use_engine(sparse_network(width=0.25, sparsity=0.9, device=CPU))
    loop = BareLoop(
        model,
        objective=objective,
        precision=precision,
        device=CPU,
        batch_size=40,
        total_steps=steps,
        strategy="random",
        sparsity=0.9,
    )
    for _ in range(steps):
        loop.step()
    loop.optimiser.settle()
    found = {f"model {name}": value.clone() for name, value in model.state_dict().items()}
    for number, state in loop.optimiser.state_dict()["state"].items():
        found[f"velocity {number}"] = state["velocity"].clone()
    found["connected"] = model.connected().clone()
    found["births"] = torch.stack(loop.growth)
    return found


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_has_the_same_bits_on_one_two_and_three_threads(engine, precision):
    expected = trained(precision)
    assert expected["births"].sum() > 0
    for count in (2, 3):
        with threads(count):
            assert_same_bits(trained(precision), expected)


def test_the_plain_build_computes_the_same_but_for_rounding(installed, monkeypatch):
    """Without fused products every product is rounded, too."""
    found = {}
    for isa in ("plain", "avx2"):
        if isa not in library.built() or not library.open_build("plain").rewire_supports(
            isa.encode()
        ):
            pytest.skip(f"this machine has no build '{isa}'")
        monkeypatch.setenv(library.CHOICE, isa)
        found[isa] = layer_results(torch.float32) | norm_results(torch.float32)
    different = 0
    for name, value in found["plain"].items():
        assert relative(found["avx2"][name], value) < 2e-6, name
        different += not torch.equal(found["avx2"][name], value)
    assert different > 10


def test_the_avx512_build_has_the_bits_of_the_avx2_build_in_float32(installed, monkeypatch):
    try:
        for isa in ("avx2", "avx512"):
            library.open_build(isa)
    except InputError as error:
        pytest.skip(str(error))
    monkeypatch.setenv(library.CHOICE, "avx2")
    expected = all_results(torch.float32)
    monkeypatch.setenv(library.CHOICE, "avx512")
    assert_same_bits(all_results(torch.float32), expected)


@pytest.fixture(scope="module")
def wide_build(installed, tmp_path_factory):
    """The sources compiled for vectors of 16 floats, as with AVX-512, of which AVX2 takes two."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no g++ to compile with")
    if "avx2" not in library.built() or not library.open_build("plain").rewire_supports(b"avx2"):
        pytest.skip("this machine has no build 'avx2'")
    file = tmp_path_factory.mktemp("build") / "wide.so"
    command = [compiler, "-w", "-O0", *FLAGS, "-mavx2", "-mfma", "-DREWIRE_WIDTH=16"]
    subprocess.run(
        [*command, "-shared", "-fPIC", str(NATIVE / "engine.cpp"), "-o", str(file)],
        check=True,
        capture_output=True,
    )
    return file


def test_vectors_of_16_floats_give_the_bits_of_vectors_of_8_in_float32(wide_build, monkeypatch):
    monkeypatch.setenv(library.CHOICE, "avx2")
    expected = all_results(torch.float32)
    monkeypatch.setenv(library.FILE, str(wide_build))
    assert library.lanes(torch.bfloat16) == 32
    assert library.lanes(torch.float32) == 16
    assert_same_bits(all_results(torch.float32), expected)


def test_blocks_of_32_images_in_bfloat16_compute_the_same_but_for_the_order_of_sums(
    wide_build, monkeypatch
):
    monkeypatch.setenv(library.CHOICE, "avx2")
    expected = layer_results(torch.bfloat16) | norm_results(torch.bfloat16)
    monkeypatch.setenv(library.FILE, str(wide_build))
    given = layer_results(torch.bfloat16) | norm_results(torch.bfloat16)
    for name, value in expected.items():
        assert relative(given[name], value) < 1e-3, name
