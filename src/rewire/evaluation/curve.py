"""Accuracy under universal noise of one network, pruned in many ways (article).

Vectors are fixed while the network is pruned; "none" (the clean images) is the first column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.attacks.judge import is_correct
from rewire.attacks.mode import attack_mode, full_float32
from rewire.attacks.universal import apply_noise
from rewire.errors import unknown_name
from rewire.evaluation.noise import check_judged
from rewire.models.dense import DenseNetwork

Setting = TypeVar("Setting")
Layer = tuple[Tensor, Tensor]
"""(weight (out, in), bias (out,)) of a dense layer; a ReLU stands between two of them."""

TOLERANCE = 1e-3
FEATURE_BATCH = 100  # convolutions of so few images stay in a CPU's caches


@torch.no_grad()
def pruning_curve(
    model: DenseNetwork,
    pruned: Callable[[Setting], AbstractContextManager[Any]],
    settings: Sequence[Setting],
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    *,
    evaluation: str = "E1",
    first: str | None = None,
    batch_size: int = 1000,
) -> np.ndarray:
    """Count correct images for every pruning, without noise and under every vector.

    The counts are those of `correct_under_noise`, up to the rounding of float32, several times
    faster: what lies before the first pruned matrix is computed once for all settings; weights
    that no path from input to logits uses are left out; dense layers run in oneDNN on a CPU.

    Args:
        model: the unpruned network: dense layers with ReLU between them, after any layers that
            are not pruned; with `matrices`, `output_matrix` and `inputs_of`.
        pruned: context in which `model` is pruned at a setting, e.g. with rankings `ranking`
            `lambda ratio: apply_masks(model, masks_at(ranking, ratio))`. Ratios are the true ones:
            the article's plots show the value of ratio r one step later.
        settings: S prunings, e.g. ratios.
        images: float (N, ...) in [0, 1], on the model's device.
        labels: int64 (N,).
        noise: (V, pixels) on the same device; V may be 0.
        evaluation: "E1" adds the noise unclipped as in the article's plots, "E2" clips to [0, 1].
        first: the first matrix that any setting changes; `None` for the first one of all.
        batch_size: images that are kept with all their columns at the input of that matrix.

    Returns:
        int64 (S, 1 + V), counts of correct images of N.

    Raises:
        InputError: as `correct_under_noise`, or for an unknown matrix.
    """
    check_judged(images, labels, noise, evaluation, batch_size)
    layers = _dense_layers(model, images[:1])
    names = list(layers)
    first = names[0] if first is None else first
    if first not in names:
        raise unknown_name("matrix to prune", first, names)
    changing = [layers[name] for name in names[names.index(first) :]]
    counts = torch.zeros(len(settings), 1 + len(noise), dtype=torch.int64, device=images.device)
    with full_float32(images.device), attack_mode(model):
        _check_chain(model, images[:2], first, changing)
        pixels = torch.equal(_inputs(model, images[:1], first).flatten(), images[:1].flatten())
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            shifted = pixels and evaluation == "E1"
            columns = () if shifted else _columns(model, x, noise, evaluation, first, pixels)
            for row, setting in enumerate(settings):
                with pruned(setting):
                    used, chain = compacted([(layer.weight, layer.bias) for layer in changing])
                chain = [(_packed(weight), _packed(bias)) for weight, bias in chain]
                if shifted:
                    every = _shifted_logits(x.flatten(1), noise, used, chain)
                else:
                    every = (_logits(inputs, used, chain) for inputs in columns)
                for column, logits in enumerate(every):
                    counts[row, column] += is_correct(logits, y).sum()
    return counts.cpu().numpy()


def compacted(layers: Sequence[Layer]) -> tuple[Tensor, list[Layer]]:
    """The same function of fewer inputs and units.

    Units that no later weight reads are left out. Units without any weight are constant: what
    they give goes into the next bias. Sums run over fewer terms, all others being zero, so the
    logits agree up to rounding.

    Args:
        layers: dense layers in their order, a ReLU between each two.

    Returns:
        (indices int64 of the inputs that are read, copies of the layers for these inputs). At
        least one input and one unit of a layer remain.
    """
    layers = [(weight.detach(), bias.detach()) for weight, bias in layers]
    for place in range(len(layers) - 1, 0, -1):
        (weight, bias), (before, before_bias) = layers[place], layers[place - 1]
        read = _some((weight != 0).any(dim=0))
        layers[place] = weight.index_select(1, read), bias
        layers[place - 1] = before.index_select(0, read), before_bias[read]
    for place in range(len(layers) - 1):
        (weight, bias), (after, after_bias) = layers[place], layers[place + 1]
        fed = (weight != 0).any(dim=1)
        constant = bias.relu().masked_fill(fed, 0)
        kept = _some(fed)
        constant[kept] = 0
        layers[place] = weight.index_select(0, kept), bias[kept]
        layers[place + 1] = after.index_select(1, kept), after_bias + after @ constant
    used = _some((layers[0][0] != 0).any(dim=0))
    layers[0] = layers[0][0].index_select(1, used), layers[0][1]
    return used, layers


def _some(flags: Tensor) -> Tensor:
    """Indices of the true flags; index 0 if there is none, for libraries that refuse empty ones."""
    indices = flags.nonzero().flatten()
    return indices if len(indices) else torch.zeros(1, dtype=torch.int64, device=flags.device)


def _dense_layers(model: DenseNetwork, x: Tensor) -> dict[str, nn.Linear]:
    """The prunable dense layers and the output layer by the names of their inputs, in order."""
    weights = [*model.matrices().values(), model.output_matrix()]
    modules = [module for module in model.modules() if isinstance(module, nn.Linear)]
    layers = [next(layer for layer in modules if layer.weight is weight) for weight in weights]
    return dict(zip(model.inputs_of(x), layers, strict=True))


def _check_chain(model: DenseNetwork, x: Tensor, first: str, layers: Sequence[nn.Linear]) -> None:
    chain = [(_packed(layer.weight), _packed(layer.bias)) for layer in layers]
    logits = _logits(_inputs(model, x, first), None, chain)
    same = torch.allclose(logits, model(x), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    assert same, f"not a chain of dense layers with ReLU from '{first}' on: {type(model).__name__}"


def _inputs(model: DenseNetwork, x: Tensor, name: str) -> Tensor:
    """What one matrix is multiplied by, (B, in)."""
    return torch.cat([model.inputs_of(part)[name] for part in x.split(FEATURE_BATCH)])


def _columns(
    model: DenseNetwork, x: Tensor, noise: Tensor, evaluation: str, name: str, pixels: bool
) -> list[Tensor]:
    """Inputs of one matrix without noise and under every vector; the images, if it sees pixels."""
    every = [x, *(apply_noise(x, vector, evaluation=evaluation) for vector in noise)]
    return [fed.flatten(1) if pixels else _inputs(model, fed, name) for fed in every]


def _logits(inputs: Tensor, used: Tensor | None, layers: Sequence[Layer]) -> Tensor:
    inputs = inputs if used is None else inputs.index_select(1, used)
    return _unpacked(_after(F.linear(_packed(inputs), *layers[0]), layers[1:]))


def _shifted_logits(
    x: Tensor, noise: Tensor, used: Tensor, layers: Sequence[Layer]
) -> Iterator[Tensor]:
    """Logits of x, then of x + n for every vector, where (x + n)·W is x·W + n·W."""
    clean = _unpacked(F.linear(_packed(x.index_select(1, used)), *layers[0]))
    shifts = F.linear(noise.index_select(1, used), _unpacked(layers[0][0]))
    for shift in [clean.new_zeros(clean.shape[1]), *shifts]:
        yield _unpacked(_after(clean + shift, layers[1:]))


def _after(values: Tensor, layers: Sequence[Layer]) -> Tensor:
    """What `layers` make of the values before a ReLU."""
    for layer in layers:
        values = F.linear(_packed(values.relu_()), *layer)
    return values


def _packed(values: Tensor) -> Tensor:
    """In the format of oneDNN on a CPU, where it is the fastest float32 product."""
    fits = values.device.type == "cpu" and values.dtype == torch.float32
    if values.is_mkldnn or not (fits and torch.backends.mkldnn.is_available()):
        return values
    return values.to_mkldnn()


def _unpacked(values: Tensor) -> Tensor:
    return values.to_dense() if values.is_mkldnn else values
