"""Networks that leave the project: what others load computes the same."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from helpers.small import run
from torch import nn

from rewire.errors import InputError
from rewire.models.artifact import load, save_network
from rewire.models.factory import build_model
from rewire.rng import generator
from rewire.tools import export

SPEC = {"name": "vgg11", "width": 0.1, "classes": 10, "image_size": 32}
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in export.PACKAGES),
    reason="onnx, onnxruntime and onnxscript are not installed: pip install -e '.[export]'",
)
FORMATS = [pytest.param("onnx", marks=needs_onnx), "torch", "state_dict"]


@pytest.fixture
def cell(tmp_path):
    """The folder of a cell whose network has been trained as far as its BatchNorm."""
    model = build_model(**SPEC, sparsity=0.9, seed=0)
    random = generator(0, "test")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=random))
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=random) + 0.5)
    folder = tmp_path / "natural-s0.9-l2-seed0"
    save_network(folder / "weights.safetensors", model, spec=SPEC)
    return folder


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_read_again_computes_the_same_for_any_number_of_images(cell, monkeypatch, format):
    monkeypatch.chdir(cell.parent)
    path = export.export(cell, format)
    assert path.name == f"natural-s0.9-l2-seed0{export.FORMATS[format].suffixes[0]}"
    predict = export.FORMATS[format].read(path, SPEC)
    images = torch.rand(7, 3, 32, 32, generator=generator(1, "test"))
    with torch.no_grad():
        expected = load(cell)(images)
        for count in (1, 2, 7):
            found = predict(images[:count])
            torch.testing.assert_close(found, expected[:count], rtol=0, atol=export.TOLERANCE)
    assert float(expected.std()) > 10 * export.TOLERANCE


@needs_onnx
def test_the_onnx_model_is_dense_whole_and_open_in_its_batch(cell, tmp_path):
    import onnx

    path = export.export(cell / "weights.safetensors", "onnx", tmp_path / "new" / "net.onnx")
    assert [p.name for p in path.parent.iterdir()] == ["net.onnx"]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    (images,), (logits,) = model.graph.input, model.graph.output
    batch, *others = images.type.tensor_type.shape.dim
    assert (images.name, batch.dim_param, [d.dim_value for d in others]) == (
        "images", "batch", [3, 32, 32],
    )  # fmt: skip
    assert logits.type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_state_dictionary_has_torchvision_s_names(cell, tmp_path, suffix):
    from rewire.models.plain import read_state_dict

    state = read_state_dict(export.export(cell, "state_dict", tmp_path / f"net{suffix}"))
    assert state["features.0.weight"].shape == (6, 3, 3, 3)
    assert state["classifier.6.weight"].shape == (10, 26)
    assert float((state["features.4.weight"] == 0).float().mean()) > 0.5


def test_a_file_that_would_compute_something_else_is_not_put_in_place(cell, tmp_path, monkeypatch):
    path = tmp_path / "net.pt"
    path.write_text("mine")
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="would compute logits off by"):
        export.export(cell, "state_dict", path)
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir() if "tmp" in p.name] == []


def test_without_the_extra_one_line_says_what_to_install(cell, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "PACKAGES", ("onnx_that_is_not_here",))
    with pytest.raises(InputError, match=r"needs onnx_that_is_not_here.*\[export\]"):
        export.export(cell, "onnx", tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_what_cannot_be_exported_is_one_line(cell, tmp_path):
    with pytest.raises(InputError, match=r"no file for torch. Allowed: .pt2"):
        export.export(cell, "torch", tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"holds no weights.safetensors"):
        export.export(tmp_path, "torch")
    with pytest.raises(InputError, match=r"missing checkpoint"):
        export.export(tmp_path / "nowhere", "torch")
    said = run("-m", "rewire", "export", str(tmp_path), "--format", "state_dict")
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1)


def test_the_package_loads_a_network_in_one_line_and_imports_nothing_before(cell):
    code = (
        "import sys, rewire; assert 'torch' not in sys.modules; "
        f"print(type(rewire.load({str(cell)!r})).__name__, callable(rewire.Inference)); "
        "rewire.nothing"
    )
    said = run("-c", code)
    assert said.stdout == "SparseNetwork True\n"
    assert "module 'rewire' has no attribute 'nothing'" in said.stderr
