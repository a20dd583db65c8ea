"""Networks in PyTorch's own layers, and state dictionaries that torchvision's networks share."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torchvision
from torch import nn

from rewire.errors import InputError
from rewire.models.factory import build_model
from rewire.models.norm import BatchNorm2d
from rewire.models.plain import as_plain, from_state_dict, open_network, to_state_dict
from rewire.models.sparse import SparseConv2d, SparseLinear
from rewire.models.vgg import FlattenChannelsLast
from rewire.registry import MODELS
from rewire.rng import generator

NAMES = ("vgg11", "vgg16", "resnet18")


def spec_of(name, width=1.0):
    return {"name": name, "width": width, "classes": 10, "image_size": 32}


def network(name, width=1.0):
    """A sparse network whose BatchNorm has statistics, as a trained one."""
    first = (0.6,) if name == "resnet18" else (0.6, 0.2)
    model = build_model(**spec_of(name, width), sparsity=0.9, seed=0, p_init_first=first)
    shake(model)
    return model.eval()


def shake(model):
    """Put random numbers into all that is no sparse weight."""
    random = generator(0, "shake")
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    tensor.copy_(torch.rand(tensor.shape, generator=random) + 0.5)
                for tensor in (module.bias, module.running_mean):
                    tensor.copy_(torch.randn(tensor.shape, generator=random))
            elif getattr(module, "bias", None) is not None:
                shape = module.bias.shape
                module.bias.copy_(torch.randn(shape, generator=random))


def small_torchvision(name):
    """torchvision's own network for 32×32 images, as docs/networks.md says."""
    if name == "resnet18":
        model = torchvision.models.resnet18(num_classes=10)
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
        return model.eval()
    model = getattr(torchvision.models, f"{name}_bn")(num_classes=10)
    model.features[-1], model.avgpool = nn.Identity(), nn.Identity()
    model.classifier[0], model.classifier[3] = nn.Linear(2048, 256), nn.Linear(256, 256)
    model.classifier[6] = nn.Linear(256, 10)
    return model.eval()


def images(count=3):
    return torch.rand(count, 3, 32, 32, generator=generator(0, "images"))


@torch.no_grad()
def differ(one, other):
    x = images()
    found = one(x)
    assert float(found.std()) > 0.01
    return float((found - other(x)).abs().max() / found.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dictionary_fits_torchvision_s_network_and_computes_the_same(name):
    model = network(name)
    other = small_torchvision(name)
    other.load_state_dict(to_state_dict(model), strict=True)
    assert differ(model, other) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_torchvision_s_network_is_read_with_its_biases(name, tmp_path):
    other = small_torchvision(name)
    shake(other)
    path = tmp_path / "foreign.pt"
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in other.state_dict().items()}}, path
    )
    assert differ(other, open_network(path, spec=spec_of(name))) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_copy_has_our_names_and_computes_the_same(name):
    model = network(name, 0.25)
    plain = as_plain(model)
    assert {type(m) for m in plain.modules() if isinstance(m, nn.BatchNorm2d)} == {nn.BatchNorm2d}
    assert differ(model, plain) < 1e-5
    back = from_state_dict(plain.state_dict(), spec=spec_of(name, 0.25))
    for layer, weight in model.weights().items():
        assert torch.equal(back.weights()[layer], weight)


def two_dense(*, width, classes, image_size):
    """A network that torchvision has not, with names that its networks have in part."""
    return nn.Sequential(
        OrderedDict(
            conv1=SparseConv2d(3, 8, 3, padding=1),
            norm=BatchNorm2d(8),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(4),
            flatten=FlattenChannelsLast(),
            dense1=SparseLinear(8 * (image_size // 4) ** 2, 12),
            dense=SparseLinear(12, classes),
        )
    )


def test_a_network_that_torchvision_has_not_keeps_its_names(monkeypatch):
    monkeypatch.setitem(MODELS._entries, "two_dense", two_dense)
    spec = spec_of("two_dense")
    model = build_model(**spec, sparsity=0.5, seed=0, p_init_first=(), p_init_last=())
    shake(model)
    state = to_state_dict(model.eval())
    assert list(state) == list(as_plain(model).state_dict())
    back = from_state_dict(state, spec=spec)
    assert differ(model, back) < 1e-5
    assert differ(model, as_plain(model)) < 1e-5


def test_a_plain_copy_lives_by_itself():
    model = network("vgg11", 0.1)
    plain = as_plain(model)
    before = plain(images())
    with model.materialised():
        again = as_plain(model)
    model.theta.data.zero_()
    assert torch.equal(plain(images()), before)
    assert torch.equal(again(images()), before)


def state(**changes):
    return to_state_dict(network("vgg11", 0.25)) | changes


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"features.4.weight": torch.zeros(32, 8, 3, 3)},
            r"layer 'features.4.weight' has shape \(32, 8, 3, 3\), expected \(32, 16, 3, 3\)",
        ),
        ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, r"expected \(16, .* model.width=1\."),
        ({"classifier.6.bias": torch.full((10,), torch.nan)}, "'classifier.6.bias' is not finite"),
        ({"head.weight": torch.zeros(3)}, "'head.weight', which that model has not"),
    ],
)
def test_another_network_is_refused_in_one_line(changed, said):
    with pytest.raises(InputError, match=said) as refused:
        from_state_dict(state(**changed), spec=spec_of("vgg11", 0.25))
    assert "\n" not in str(refused.value)


def test_a_missing_layer_is_named():
    left = {k: v for k, v in state().items() if not k.startswith("features.1.")}
    with pytest.raises(InputError, match=r"vgg11 of width 0.25: it has no 'features.1.weight'"):
        from_state_dict(left, spec=spec_of("vgg11", 0.25))


class Trap:
    def __reduce__(self):
        return (print, ("trapped",))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("net.pt", Trap(), "damaged or holds more than tensors"),
        ("net.pt", b"nonsense", "damaged or holds more than tensors"),
        ("net.safetensors", b"nonsense", "damaged or holds more than tensors"),
        ("net.pt", [1, 2], "holds no state dictionary"),
        ("net.pt", {"epoch": 3}, "'epoch', which is no tensor"),
        ("net.bin", b"nonsense", r"Allowed: .safetensors, .pt, .pth"),
        ("net.pth", None, "run the stage that writes it first, or name another file"),
    ],
)
def test_a_file_that_is_no_state_dictionary_is_refused(tmp_path, capsys, name, content, said):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=said) as refused:
        open_network(path, spec=spec_of("vgg11"))
    assert "\n" not in str(refused.value)
    assert "trapped" not in capsys.readouterr().out
