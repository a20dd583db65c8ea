"""Ordinary dense networks and hand-made sparse bodies that the sparse networks are judged by."""

from __future__ import annotations

import torch
from torch import nn

from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.rng import generator


def plain_vgg11(classes: int = 10) -> nn.Sequential:
    """VGG11 for 32×32 images spelled out layer by layer, with PyTorch's own layers."""

    def conv(inputs, outputs):
        return [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]

    return nn.Sequential(
        *conv(3, 64),
        nn.MaxPool2d(2),
        *conv(64, 128),
        nn.MaxPool2d(2),
        *conv(128, 256),
        *conv(256, 256),
        nn.MaxPool2d(2),
        *conv(256, 512),
        *conv(512, 512),
        nn.MaxPool2d(2),
        *conv(512, 512),
        *conv(512, 512),
        nn.Flatten(),
        nn.Linear(2048, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, classes),
    )


def with_weights_of(
    sparse: SparseNetwork, plain: nn.Module, *, positions: tuple[int, int] | None = None
) -> nn.Module:
    """`plain` with the weights, biases and BatchNorm parameters of `sparse`, layer by layer.

    `positions`: height and width of what `sparse` flattens channels-last; `plain` flattens as
    PyTorch does.
    """
    weights = list(sparse.weights().values())
    if positions is not None:
        first = next(number for number, weight in enumerate(weights) if weight.ndim == 2)
        by_place = weights[first].view(len(weights[first]), *positions, -1)
        weights[first] = torch.einsum("oyxi->oiyx", by_place).flatten(1)
    targets = [m for m in plain.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for module, weight in zip(targets, weights, strict=True):
            if (
                weight.ndim == 4
            ):  # stored (out, row, column, in), PyTorch has (out, in, row, column)
                weight = torch.einsum("oyxi->oiyx", weight)
            module.weight.copy_(weight)
    own = [m for m in sparse.modules() if isinstance(m, SparseLinear)]
    other = [m for m in plain.modules() if isinstance(m, nn.Linear)]
    for a, b in zip(own, other, strict=True):
        b.bias.data.copy_(a.bias.data)
    norms = [[m for m in n.modules() if isinstance(m, nn.BatchNorm2d)] for n in (sparse, plain)]
    for a, b in zip(*norms, strict=True):
        b.load_state_dict(a.state_dict())
    return plain


def small_body() -> nn.Sequential:
    """A body with a strided convolution, a 1×1 convolution and a dense layer; 6×6 RGB images."""
    return nn.Sequential(
        SparseConv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        SparseConv2d(4, 6, 1, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        SparseLinear(54, 5),
    )


def plain_small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 1, stride=2, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(54, 5),
    )


def small_network(seed: int = 0, p_init=(0.5, 0.5, 0.5)) -> SparseNetwork:
    """Double precision, with negative dormant θ and non-zero biases, as in mid-training."""
    model = SparseNetwork(small_body(), p_init=p_init, generator=generator(seed, "test")).double()
    random = generator(seed, "test values")
    dormant = -torch.rand(model.theta.shape, generator=random, dtype=torch.float64)
    model.theta.data = torch.where(model.theta > 0, model.theta.double(), dormant)
    model.theta.data[::7] = 0.0
    for module in model.modules():
        if isinstance(module, SparseLinear):
            module.bias.data.normal_(generator=random)
    return model


def images(count: int, size: int = 6, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=generator(seed, "test images"), dtype=dtype)
