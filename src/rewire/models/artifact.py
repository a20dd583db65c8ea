"""Trained networks as safetensors files, with the network's description.

Of a sparse network the file holds the connected weights only, and the name of its description says
in which order the first dense layer sees its inputs: height, width, channel. In older files, with
another name, it is channel, height, width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from rewire.errors import InputError
from rewire.files import MANIFEST, WEIGHTS, atomic_path, read_json, sha256
from rewire.models.dense import DenseNetwork, build_dense
from rewire.models.factory import build_model
from rewire.models.sparse import SparseNetwork
from rewire.models.vgg import FlattenChannelsLast
from rewire.options import Chosen

# One of them is all of a file's metadata: safetensors would write two in any order.
_MODEL, _MODEL_HWC = "model", "model_hwc"
_INDEX, _VALUE, _REST = "sparse.index", "sparse.value", "dense."
# What building a network from a damaged description, or filling it, can raise.
UNFIT = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


def save_network(
    path: str | Path, model: SparseNetwork | Mapping[str, Tensor], *, spec: Mapping[str, Any]
) -> None:
    """Write a network atomically: flat indices and values of its connected weights, and the rest.

    Args:
        path: the file to write.
        model: the network, or the `network_tensors` of it.
        spec: name, width, classes and image_size, with which it can be built again.
    """
    tensors = network_tensors(model) if isinstance(model, SparseNetwork) else model
    _write(path, tensors, {_MODEL_HWC: spec})


def description(model: Chosen) -> dict[str, Any]:
    """The `spec` of a configured sparse network: what it is, whatever it began with."""
    return {k: v for k, v in model.model_dump().items() if not k.startswith("p_init_")}


def network_tensors(model: SparseNetwork) -> dict[str, Tensor]:
    """What a file holds of a network, by name: copies on the CPU."""
    weights = model.flat_weights()
    index = (weights != 0).nonzero()[:, 0]
    tensors = {_INDEX: index.int(), _VALUE: weights[index]} | {
        _REST + name: value
        for name, value in model.state_dict().items()
        if name not in ("theta", "sign", "mask")
    }
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}


def save_dense(path: str | Path, model: DenseNetwork, *, spec: Mapping[str, Any]) -> None:
    """Write all tensors of `model` atomically.

    Args:
        path: the file to write.
        model: the network.
        spec: name, width and dropout, with which it can be built again.
    """
    _write(path, {k: v.contiguous() for k, v in model.state_dict().items()}, {_MODEL: spec})


def load_network(
    path: str | Path, *, expected: Mapping[str, Any] | None = None
) -> tuple[SparseNetwork, dict[str, Any]]:
    """Rebuild a network that `save_network` wrote, in eval mode.

    Weights of an older file are put in today's order: the network computes what it always did.

    Args:
        path: the file.
        expected: if given, the description (`spec`) that the file must have.

    Returns:
        (model, its spec).

    Raises:
        InputError: if the file is missing, damaged, no such file, or of another network.
    """
    name, spec, tensors = _read(path, expected, names=(_MODEL, _MODEL_HWC))
    try:
        model = build_model(**spec, sparsity=0.5, seed=0, p_init_first=(), p_init_last=())
        flat = torch.zeros_like(model.theta)
        index = tensors.pop(_INDEX).long()
        if len(index) and int(index.min()) < 0:
            raise IndexError(f"index {int(index.min())} is negative")
        flat[index] = tensors.pop(_VALUE)
        if name == _MODEL:
            channels_to_the_end(model, flat)
        rest = {name.removeprefix(_REST): value for name, value in tensors.items()}
        rest |= {"theta": flat.abs(), "sign": torch.where(flat < 0, -1.0, 1.0)}
        model.load_state_dict(rest)
        _check_finite(model)
    except UNFIT as error:
        raise _unfit(path, spec, error) from error
    return model.eval(), spec


def is_described(path: str | Path) -> bool:
    """Whether a file says that it is a network which `save_network` wrote, whole or not."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return bool({_MODEL, _MODEL_HWC} & set(file.metadata() or {}))
    except (safetensors.SafetensorError, OSError):
        return False


def load(cell: str | Path) -> SparseNetwork:
    """A trained network in evaluation mode: images (B, 3, 32, 32) in [0, 1] → logits (B, classes).

    Args:
        cell: the folder of a trained cell (outputs/PROFILE/train/CELL or results/.../cells/CELL),
            or a file that `save_network` wrote.

    Raises:
        InputError: as `load_network`.
    """
    path = Path(cell)
    return load_network(path / WEIGHTS if path.is_dir() else path)[0]


def load_dense(path: str | Path, *, expected: Mapping[str, Any] | None = None) -> DenseNetwork:
    """Rebuild a network that `save_dense` wrote, in eval mode.

    Args:
        path: the file.
        expected: if given, the description (`spec`) that the file must have.

    Raises:
        InputError: as `load_network`.
    """
    _, spec, tensors = _read(path, expected, names=(_MODEL,))
    try:
        model = build_dense(**spec, seed=0)
        model.load_state_dict(tensors)
        _check_finite(model)
    except UNFIT as error:
        raise _unfit(path, spec, error) from error
    return model.eval()


def channels_to_the_end(model: SparseNetwork, flat: Tensor) -> None:
    """Reorder the first dense layer's inputs from channel, height, width to height, width, channel.

    Nothing is done to a network that does not flatten positions.

    Args:
        model: the network.
        flat: (N,) weights in the order of its θ, changed in place.
    """
    if not any(isinstance(module, FlattenChannelsLast) for module in model.modules()):
        return
    for before, layer in pairwise(model.layers):
        if len(before.shape) == 4 and len(layer.shape) == 2:
            outputs, channels = layer.fan_out, before.fan_out
            entries = layer.of(flat)
            entries.copy_(entries.view(outputs, channels, -1).mT.reshape(-1))


def _write(
    path: str | Path, tensors: Mapping[str, Tensor], described: Mapping[str, Mapping[str, Any]]
) -> None:
    metadata = {name: json.dumps(dict(spec), sort_keys=True) for name, spec in described.items()}
    with atomic_path(path) as temporary:
        save_file({k: v.cpu() for k, v in tensors.items()}, temporary, metadata=metadata)


def _read(
    path: str | Path, expected: Mapping[str, Any] | None, *, names: Sequence[str]
) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Name and value of the description in a file that `_write` wrote, and its tensors.

    Refuses any other file, and a description that has none of the `names`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"missing checkpoint '{path}': run the stage that writes it first")
    check_listed(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            ((described, text),) = dict(file.metadata()).items()
            if described not in names:
                raise ValueError(f"it has {described!r} and no {names[-1]!r}")
            spec = json.loads(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise InputError(f"checkpoint '{path}' is damaged or of another kind: {error}") from error
    if not isinstance(spec, dict):
        raise InputError(
            f"checkpoint '{path}' is damaged or of another kind: it describes {spec!r}"
        )
    if expected is not None and spec != dict(expected):
        raise InputError(f"checkpoint '{path}' is of another model: {spec}, not {dict(expected)}")
    return described, spec, tensors


def check_listed(path: Path) -> None:
    """Refuse a file that is not the one which the manifest beside it lists.

    A file without a manifest, or that it does not list, is taken: it may have come alone.

    Raises:
        InputError: if its SHA-256 is another one, or the manifest is damaged.
    """
    manifest = path.with_name(MANIFEST)
    if not manifest.is_file():
        return
    try:
        listed = read_json(manifest)["files"].get(path.name)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"'{manifest}' is damaged: it lists no files") from error
    if listed is not None and sha256(path) != listed:
        raise InputError(
            f"'{path}' is damaged, or its stage was stopped: its SHA-256 is not the one in "
            f"{MANIFEST}. Run the stage that writes it again."
        )


def _check_finite(model: torch.nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} is not finite")


def _unfit(path: str | Path, spec: Mapping[str, Any], error: Exception) -> InputError:
    return InputError(f"checkpoint '{path}' does not fit its model {spec}: {error}")
