"""Small sparse networks of many shapes, and what they compute in float64."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from helpers.toys_engine import modules, seeded
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.models.vgg import FlattenChannelsLast

CLASSES = 5


@dataclass(frozen=True)
class Stage:
    """One convolution and what follows it."""

    channels: int = 6
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    norm: bool = True
    relu: bool = True
    pool: bool = False

    def size(self, size: int) -> int:
        """Of its output maps; 0 or less where the kernel, or the pool, does not fit."""
        if size + 2 * self.padding < self.kernel:
            return 0
        size = (size + 2 * self.padding - self.kernel) // self.stride + 1
        return size // 2 if self.pool else size


def chain(stages: list[Stage], image: tuple[int, int, int], *, last: bool = True) -> nn.Module:
    """Convolutions one after the other, then two dense layers; `last`: flattened channels last."""
    parts: list[nn.Module] = []
    inputs, height, width = image
    for stage in stages:
        parts.append(
            SparseConv2d(
                inputs, stage.channels, stage.kernel, stride=stage.stride, padding=stage.padding
            )
        )
        parts += [nn.BatchNorm2d(stage.channels)] if stage.norm else []
        parts += [nn.ReLU()] if stage.relu else []
        parts += [nn.MaxPool2d(2)] if stage.pool else []
        inputs, height, width = stage.channels, stage.size(height), stage.size(width)
    flat = FlattenChannelsLast() if last else nn.Flatten()
    dense = SparseLinear(inputs * height * width, 7), nn.ReLU(), SparseLinear(7, CLASSES)
    return nn.Sequential(*parts, flat, *dense)


class Body(nn.Module):
    """Two convolutions of the same image, of which a function makes features for a dense layer."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.narrow, self.wide = SparseConv2d(3, 6, 1), SparseConv2d(3, 6, 3, padding=1)
        self.norm, self.other = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.first, self.act = nn.BatchNorm2d(3), nn.LeakyReLU(0.1)
        self.point, self.same = SparseConv2d(6, 6, 1), SparseConv2d(6, 6, 3, padding=1)
        self.smaller = SparseConv2d(3, 6, 3)
        self.average, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.dense, self.twin = SparseLinear(6, 6), SparseLinear(6, 6)
        self.last = SparseLinear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(getattr(self, self.how)(x))

    def pooled(self, x: Tensor) -> Tensor:
        return self.flat(self.average(x))

    def sum_of_maps(self, x: Tensor) -> Tensor:
        return self.pooled(F.relu(self.norm(self.narrow(x)) + self.other(self.wide(x))))

    def sum_with_itself(self, x: Tensor) -> Tensor:
        x = self.norm(self.wide(x))
        return self.pooled(x + x)

    def sum_of_vectors(self, x: Tensor) -> Tensor:
        x = self.pooled(self.norm(self.wide(x)))
        return F.relu(self.dense(x) + self.twin(x))

    def sum_of_pixel_and_maps(self, x: Tensor) -> Tensor:
        x = self.norm(self.wide(x))
        return self.pooled(F.relu(self.average(x) + x))

    def sum_of_maps_and_pixel(self, x: Tensor) -> Tensor:
        x = self.norm(self.wide(x))
        return self.pooled(F.relu(x + self.average(x)))

    def sum_of_sizes_that_do_not_fit(self, x: Tensor) -> Tensor:
        return self.pooled(self.norm(self.smaller(x)) + self.other(self.wide(x)))

    def one_pixel(self, x: Tensor) -> Tensor:
        x = self.average(self.norm(self.wide(x)))
        return self.pooled(F.relu(self.other(self.point(x))))

    def used_twice(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.same(self.wide(x))))
        return self.pooled(self.other(self.same(x)))

    def used_for_two_sizes(self, x: Tensor) -> Tensor:
        x = self.same(self.wide(x))
        return self.pooled(self.same(F.max_pool2d(x, 2)))

    def norm_of_the_images(self, x: Tensor) -> Tensor:
        return self.pooled(self.norm(self.wide(self.first(x))))

    def norm_behind_an_ordinary_layer(self, x: Tensor) -> Tensor:
        return self.pooled(self.other(self.act(self.norm(self.wide(x)))))

    def pool_alone(self, x: Tensor) -> Tensor:
        return self.pooled(F.max_pool2d(self.wide(x), 2))


def network(body: nn.Module, *, density: float = 0.5, seed: int = 0) -> SparseNetwork:
    """Of a body: random weights, statistics and biases, in evaluation mode."""
    source = seeded(seed)
    sparse = len(modules(body, SparseConv2d)) + len(modules(body, SparseLinear))
    model = SparseNetwork(body, p_init=[density] * sparse, generator=source)
    for norm in modules(body, nn.BatchNorm2d):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
            tensor += 0.3 * torch.randn(tensor.shape, generator=source)
        norm.running_var *= 0.5 + torch.rand(norm.running_var.shape, generator=source)
    for linear in modules(body, SparseLinear):
        linear.bias.data += 0.3 * torch.randn(linear.bias.shape, generator=source)
    return model.eval()


@torch.no_grad()
def exact_logits(model: SparseNetwork, x: Tensor) -> Tensor:
    """By its modules, in float64."""
    exact = copy.deepcopy(model).double().eval()
    exact.runner = None
    return exact(x.double())
