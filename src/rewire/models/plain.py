"""The same networks in PyTorch's own layers, and plain state dictionaries of them.

A state dictionary is read by either of two namings, and written by the first:

- torchvision's (`vgg11_bn`, `vgg16_bn`, `resnet18`): `features.N.weight`, `classifier.N.weight`;
  `conv1.weight`, `bn1.weight`, `layerN.B.conv1.weight`, `layerN.B.downsample.0.weight`,
  `fc.weight`. The first dense layer of a VGG sees channel, height, width; its convolutions have a
  bias, which BatchNorm takes up.
- ours, that of `as_plain`, and the only one of a network that torchvision has not:
  `conv1.weight`, `norm1.running_mean`, `dense1.bias`, ...; the first dense layer of a VGG sees
  height, width, channel.
"""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rewire.errors import InputError
from rewire.models.artifact import UNFIT, is_described, load_network
from rewire.models.factory import build_model
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork

SUFFIXES = (".safetensors", ".pt", ".pth")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys that checkpoints put around
PREFIXES = ("module.", "model.", "net.", "body.")
FIRST_CHANNELS = 64  # of every architecture at width 1
NORM = ("weight", "bias", "running_mean", "running_var")
_RESNET_PARTS = ("stem", "norm", "stage1_1", "dense")
_RESNET = (
    (r"^stem", "conv1"),
    (r"^norm$", "bn1"),
    (r"^dense$", "fc"),
    (r"^stage(\d)_(\d)", lambda m: f"layer{m[1]}.{int(m[2]) - 1}"),
    (r"\.norm(\d)", r".bn\1"),
    (r"\.shortcut\.conv", ".downsample.0"),
    (r"\.shortcut\.norm", ".downsample.1"),
)


@torch.no_grad()
def as_plain(model: SparseNetwork) -> nn.Module:
    """A copy of the network's body with the weights that it has now, in evaluation mode.

    All layers are PyTorch's own, zeros included: float images (B, C, H, W) → logits (B, classes).
    """
    sparse = [m for m in model.body.modules() if isinstance(m, SparseConv2d | SparseLinear)]
    body = copy.deepcopy(model.body, {id(m.weight): None for m in sparse})
    weights = model.flat_weights()
    for layer in model.layers:
        old = body.get_submodule(layer.name)
        assert isinstance(old, SparseConv2d | SparseLinear)
        new = _conv(old) if isinstance(old, SparseConv2d) else _linear(old)
        new.weight.copy_(layer.as_weight(layer.of(weights)))
        body.set_submodule(layer.name, new)
    for name, norm in list(body.named_modules()):
        if isinstance(norm, nn.BatchNorm2d):
            plain = nn.BatchNorm2d(norm.num_features, eps=norm.eps, momentum=norm.momentum)
            plain.load_state_dict(norm.state_dict())
            body.set_submodule(name, plain)
    return body.to(weights.device).eval().requires_grad_(False)


def _conv(old: SparseConv2d) -> nn.Conv2d:
    outputs, kernel, _, inputs = old.storage_shape
    return nn.Conv2d(
        inputs, outputs, kernel, stride=old.stride, padding=old.padding, bias=False
    )  # fmt: skip


def _linear(old: SparseLinear) -> nn.Linear:
    outputs, inputs = old.storage_shape
    new = nn.Linear(inputs, outputs)
    new.bias.copy_(old.bias)
    return new


def torchvision_names(body: nn.Module) -> dict[str, str]:
    """Name of every layer with parameters in `body` → torchvision's name of it.

    A network that torchvision has not keeps its own names.
    """
    layers = [
        name
        for name, module in body.named_modules()
        if isinstance(module, SparseConv2d | SparseLinear | nn.Conv2d | nn.Linear | nn.BatchNorm2d)
    ]
    if _has(body, *_RESNET_PARTS):
        return {name: _substituted(name) for name in layers}
    if not is_vgg(body):
        return {name: name for name in layers}
    place = {name: number for number, (name, _) in enumerate(body.named_children())}
    # A dropout stands behind each ReLU of torchvision's classifier.
    return {
        name: f"classifier.{3 * (int(name[5:]) - 1)}"
        if name.startswith("dense")
        else f"features.{place[name]}"
        for name in layers
    }


def _substituted(name: str) -> str:
    for pattern, replacement in _RESNET:
        name = re.sub(pattern, replacement, name)
    return name


def is_vgg(body: nn.Module) -> bool:
    """Whether it ends as VGG11 and VGG16 do."""
    return _has(body, "flatten", "dense1", "dense2", "dense3")


def _has(body: nn.Module, *parts: str) -> bool:
    return set(parts) <= {name for name, _ in body.named_children()}


def to_state_dict(model: SparseNetwork) -> dict[str, Tensor]:
    """The network's dense tensors by torchvision's names, on the CPU.

    They fit torchvision's own `vgg11_bn`, `vgg16_bn` and `resnet18` once these are made for small
    images (docs/networks.md).
    """
    body = as_plain(model).cpu()
    names = torchvision_names(body)
    state = {}
    for key, value in body.state_dict().items():
        layer, _, entry = key.rpartition(".")
        state[f"{names[layer]}.{entry}"] = value.contiguous()
    if is_vgg(body):
        channels = model.layers[-4].fan_out  # of the convolution before three dense layers
        first = f"{names['dense1']}.weight"
        weight = state[first]
        state[first] = weight.view(len(weight), -1, channels).mT.reshape(weight.shape).contiguous()
        for name, layer in body.named_modules():
            if isinstance(layer, nn.Conv2d):  # torchvision's have a bias, BatchNorm behind it
                state[f"{names[name]}.bias"] = torch.zeros(layer.out_channels)
    return state


def open_network(path: str | Path, *, spec: Mapping[str, Any]) -> SparseNetwork:
    """The network of a file: one that `save_network` wrote, or a plain state dictionary.

    Args:
        path: .safetensors, or .pt and .pth that hold tensors alone.
        spec: name, width, classes and image_size that it must have.

    Raises:
        InputError: if it is missing, damaged, or of another network: layer, its shape and the one
            expected.
    """
    path = Path(path)
    if is_described(path):
        return load_network(path, expected=spec)[0]
    return from_state_dict(read_state_dict(path), spec=spec, origin=f"network '{path}'")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without what was put around them or before their names.

    No code of the file is run.

    Raises:
        InputError: if it is missing, of another kind, or holds anything but tensors.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"network '{path}' is no file of tensors. Allowed: {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise InputError(
            f"missing network '{path}': run the stage that writes it first, or name another file"
        )
    found: Any
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (
        safetensors.SafetensorError,
        pickle.UnpicklingError,
        OSError,
        EOFError,
        *UNFIT,
    ) as error:
        said = str(error).strip().partition("\n")[0]
        raise InputError(
            f"network '{path}' is damaged or holds more than tensors: {said}"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not found:
        raise InputError(f"network '{path}' holds no state dictionary. Allowed: name → tensor.")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(f"network '{path}' holds {name!r}, which is no tensor by its name.")
    state = dict(found)
    while prefix := next((p for p in PREFIXES if all(k.startswith(p) for k in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


@torch.no_grad()
def from_state_dict(
    state: Mapping[str, Tensor], *, spec: Mapping[str, Any], origin: str = "the state dictionary"
) -> SparseNetwork:
    """The network of a plain state dictionary, in evaluation mode: its zeros are unconnected.

    Args:
        state: tensors by torchvision's names or ours (see above).
        spec: name, width, classes and image_size.
        origin: what messages call the dictionary.

    Raises:
        InputError: for a layer that is missing, unknown, of another shape or not finite.
    """
    model = build_model(**spec, sparsity=0.5, seed=0, p_init_first=(), p_init_last=())
    names = torchvision_names(model.body)
    foreign = set(names.values()) & {key.rpartition(".")[0] for key in state}
    if not foreign >= {names[layer.name] for layer in model.layers[-1:]}:
        names = {name: name for name in names}
    known = f"{origin} does not fit model {spec['name']} of width {spec['width']:g}"
    left = dict(state)

    def take(layer: str, entry: str, shape: tuple[int, ...]) -> Tensor:
        key = f"{names[layer]}.{entry}"
        if key not in left:
            have = ", ".join(list(state)[:3])
            raise InputError(f"{known}: it has no '{key}'. It has {have}, ...")
        value = left.pop(key)
        if tuple(value.shape) != shape:
            raise InputError(
                f"{known}: layer '{key}' has shape {tuple(value.shape)}, expected {shape}."
                + _fitting(model, layer, value)
            )
        value = value.float()
        if not value.isfinite().all():
            raise InputError(f"{known}: '{key}' is not finite.")
        return value

    weights, shifts = {}, {}
    last = None
    for name, module in model.body.named_modules():
        if name not in names:
            continue
        if isinstance(module, SparseConv2d):
            outputs, kernel, _, inputs = module.storage_shape
            weight = take(name, "weight", (outputs, inputs, kernel, kernel))
            weights[name] = weight.permute(0, 2, 3, 1)
            if f"{names[name]}.bias" in left:
                shifts[name] = take(name, "bias", (outputs,))
            last = name
        elif isinstance(module, SparseLinear):
            weights[name] = take(name, "weight", module.storage_shape)
            module.bias.copy_(take(name, "bias", (module.storage_shape[0],)))
        else:
            for entry in NORM:
                getattr(module, entry).copy_(take(name, entry, (module.num_features,)))
            # BatchNorm takes the mean away: of what it sees, the bias is a part.
            module.running_mean.sub_(shifts.pop(last, 0))
            left.pop(f"{names[name]}.num_batches_tracked", None)
    if left:
        raise InputError(f"{known}: it has '{next(iter(left))}', which that model has not.")
    if is_vgg(model.body) and names["dense1"] != "dense1":
        weight, channels = weights["dense1"], weights[last].shape[0]
        weights["dense1"] = weight.view(len(weight), channels, -1).mT.reshape(weight.shape)
    model.set_weights(weights)
    return model.eval()


def _fitting(model: SparseNetwork, layer: str, value: Tensor) -> str:
    """A hint at the width that a first layer has."""
    if layer != model.layers[0].name or value.ndim != 4:
        return ""
    return f" Its width is that of model.width={value.shape[0] / FIRST_CHANNELS:g}."
