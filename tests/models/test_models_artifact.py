"""Saved networks: equal function after a round trip, equal bytes, and damage that is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.plain_networks import images
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from rewire.errors import InputError
from rewire.models.artifact import load_network, save_network
from rewire.models.factory import build_model

SPEC = {"name": "vgg11", "width": 0.125, "classes": 10, "image_size": 32}
CELLS = Path(__file__).parents[2] / "results" / "thesis" / "cpu" / "cells"


@pytest.fixture
def model():
    model = build_model(**SPEC, sparsity=0.9, seed=0)
    dormant = (model.theta == 0).nonzero()[:, 0]
    model.theta.data[dormant[::3]] = -0.5  # dormant θ of mid-training
    with torch.no_grad():
        model(images(8, 32, dtype=torch.float32))  # running statistics
    model.body.dense1.bias.data.fill_(0.25)
    return model


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "folder" / "weights.safetensors"
    save_network(path, model, spec=SPEC)
    return path


def rewritten(path, change):
    """The file again with its tensors changed in place by `change`."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


def test_round_trip_is_exact(model, saved):
    loaded, spec = load_network(saved, expected=SPEC)
    assert spec == SPEC
    assert not any(module.training for module in loaded.modules())
    x = images(4, 32, seed=1, dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(loaded(x), model.eval()(x))
    for a, b in zip(loaded.weights().values(), model.weights().values(), strict=True):
        assert torch.equal(a, b)
    ours, theirs = loaded.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"theta", "sign"}:
        assert torch.equal(ours[name], theirs[name]), name
    assert int(ours["body.norm1.num_batches_tracked"]) == 1


def with_old_order(model):
    """`model` as it was computed before: the dense part sees channel, height, width."""
    model.body.flatten = nn.Flatten()
    return model.eval()


def test_a_file_says_the_order_of_axes(saved):
    with safe_open(saved, framework="pt") as file:
        assert file.metadata() == {"model_hwc": json.dumps(SPEC, sort_keys=True)}


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "resnet18"])
def test_an_older_file_gives_the_network_that_it_always_gave(name, tmp_path):
    spec = SPEC | {"name": name, "image_size": 48}  # 3×3 positions
    model = build_model(**spec, sparsity=0.9, seed=0)
    x = images(4, 48, seed=1, dtype=torch.float32)
    with torch.no_grad():
        model(x)
        before = with_old_order(model)(x)
    weights = model.flat_weights()
    index = weights.nonzero()[:, 0]
    tensors = {"sparse.index": index.int(), "sparse.value": weights[index]}
    state = model.state_dict().items()
    tensors |= {f"dense.{key}": v for key, v in state if key not in ("theta", "sign")}
    path = tmp_path / "old.safetensors"
    save_file(tensors, path, metadata={"model": json.dumps(spec)})
    loaded, _ = load_network(path, expected=spec)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), before, rtol=1e-4, atol=1e-5)
    assert torch.equal(loaded.theta > 0, model.theta > 0) == (name == "resnet18")
    # Once saved again it is a new file.
    save_network(path, loaded, spec=spec)
    assert torch.equal(load_network(path)[0].theta, loaded.theta)


@pytest.mark.parametrize("cell", sorted(path.parent.name for path in CELLS.glob("*/*.safetensors")))
def test_committed_networks_compute_what_they_did(cell):
    path = CELLS / cell / "weights.safetensors"
    with safe_open(path, framework="pt") as file:
        if "model" not in file.metadata():
            pytest.skip("made in today's order")
        spec = json.loads(file.metadata()["model"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    old = build_model(**spec, sparsity=0.5, seed=0, p_init_first=(), p_init_last=())
    flat = torch.zeros(old.theta.shape)
    flat[tensors.pop("sparse.index").long()] = tensors.pop("sparse.value")
    rest = {name.removeprefix("dense."): value for name, value in tensors.items()}
    old.load_state_dict(rest | {"theta": flat.abs(), "sign": flat.sign()})
    x = images(4, 32, dtype=torch.float32)
    loaded, _ = load_network(path)
    with torch.no_grad():
        expected = with_old_order(old)(x)
        torch.testing.assert_close(loaded(x), expected, rtol=1e-3, atol=1e-3)
        assert (with_old_order(loaded)(x) - expected).abs().max() > 0.05  # so the order matters


@pytest.mark.parametrize("name", ["model_chw", "model_hw", "model_hwd", ""])
def test_a_file_of_other_axes_is_refused(saved, name):
    rewritten(saved, lambda _, metadata: metadata.update({name: metadata.pop("model_hwc")}))
    with pytest.raises(InputError, match=r"weights\.safetensors' is damaged or of another kind"):
        load_network(saved)


def test_newborn_connections_survive(model, tmp_path):
    entry = int((model.theta <= 0).nonzero()[7])
    model.theta.data[entry] = 1e-12
    save_network(tmp_path / "a", model, spec=SPEC)
    loaded, _ = load_network(tmp_path / "a")
    assert loaded.theta[entry] == torch.tensor(1e-12)
    assert torch.equal(loaded.theta > 0, model.theta > 0)


def test_equal_networks_give_equal_bytes(model, saved, tmp_path):
    loaded, _ = load_network(saved)
    for number, (network, spec) in enumerate(
        [(model, SPEC), (loaded, dict(reversed(SPEC.items())))]
    ):
        path = tmp_path / f"{number}.safetensors"
        save_network(path, network, spec=spec)
        assert path.read_bytes() == saved.read_bytes()


def test_only_connected_weights_are_stored(model, saved):
    connected = int((model.theta > 0).sum())
    rest = sum(v.numel() for k, v in model.state_dict().items() if k not in ("theta", "sign"))
    header = 8 * 1024
    assert saved.stat().st_size < 8 * connected + 8 * rest + header
    assert saved.stat().st_size < 4 * model.theta.numel()
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]  # no temporary file


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"missing checkpoint '.*nowhere'"):
        load_network(tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0, 3, 8, 200, 0.5, -4, -1])
def test_truncated_file_is_named(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=r"checkpoint '.*weights\.safetensors' is damaged"):
        load_network(saved)


@pytest.mark.parametrize("content", [b"garbage" * 100, b"\xff" * 64, b"PK\x03\x04" + bytes(500)])
def test_garbage_is_named(saved, content):
    saved.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint '.*weights\.safetensors' is damaged"):
        load_network(saved)


def test_file_without_a_description_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other\.safetensors' is damaged or of another kind"):
        load_network(tmp_path / "other.safetensors")


def test_another_models_file_is_refused(saved):
    with pytest.raises(InputError, match=r"weights\.safetensors' is of another model"):
        load_network(saved, expected=SPEC | {"width": 0.25})


@pytest.mark.parametrize("index", [10**8, -(10**8), -1])
def test_index_out_of_range_is_named(saved, index):
    rewritten(saved, lambda tensors, _: tensors["sparse.index"].fill_(index))
    with pytest.raises(InputError, match=r"weights\.safetensors'"):
        load_network(saved)


@pytest.mark.parametrize(
    "name",
    ["sparse.index", "sparse.value", "dense.body.norm3.running_var", "dense.body.dense3.bias"],
)
def test_missing_tensor_is_named(saved, name):
    rewritten(saved, lambda tensors, _: tensors.pop(name))
    with pytest.raises(InputError, match=r"weights\.safetensors' does not fit its model"):
        load_network(saved)


@pytest.mark.parametrize("name", ["sparse.value", "dense.body.norm3.running_var"])
def test_tensor_of_another_shape_is_named(saved, name):
    rewritten(saved, lambda tensors, _: tensors.update({name: tensors[name][:-1].clone()}))
    with pytest.raises(InputError, match=r"weights\.safetensors' does not fit its model"):
        load_network(saved)


@pytest.mark.parametrize(
    "spec", [SPEC | {"name": "vgg99"}, SPEC | {"depth": 3}, SPEC | {"width": -1}, ["vgg11"], {}]
)
def test_unusable_description_is_named(saved, spec):
    rewritten(saved, lambda _, metadata: metadata.update(model_hwc=json.dumps(spec)))
    with pytest.raises(InputError, match=r"weights\.safetensors'"):
        load_network(saved)


def test_description_of_another_network_is_named(saved):
    spec = json.dumps(SPEC | {"width": 0.25})
    rewritten(saved, lambda _, metadata: metadata.update(model_hwc=spec))
    with pytest.raises(InputError, match=r"weights\.safetensors' does not fit its model"):
        load_network(saved)
