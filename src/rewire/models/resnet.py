"""ResNet-18 for 32×32 images (He et al. 2016, CIFAR variant: 3×3 stem, no first pool)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from rewire.models.norm import BatchNorm2d
from rewire.models.sparse import SparseConv2d, SparseLinear
from rewire.models.vgg import scaled
from rewire.registry import MODELS


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int):
        super().__init__()
        self.conv1 = SparseConv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.norm1 = BatchNorm2d(outputs)
        self.conv2 = SparseConv2d(outputs, outputs, 3, padding=1)
        self.norm2 = BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    conv=SparseConv2d(inputs, outputs, 1, stride=stride),
                    norm=BatchNorm2d(outputs),
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


@MODELS.register("resnet18")
def resnet18(*, width: float, classes: int, image_size: int) -> nn.Module:
    """The network's body: stem, four stages of two blocks, global average, one dense layer.

    Images of any size: `image_size` is part of the common signature.
    """
    channels = [scaled(c, width) for c in (64, 128, 256, 512)]
    parts: list[tuple[str, nn.Module]] = [
        ("stem", SparseConv2d(3, channels[0], 3, padding=1)),
        ("norm", BatchNorm2d(channels[0])),
        ("relu", nn.ReLU(inplace=True)),
    ]
    inputs = channels[0]
    for number, outputs in enumerate(channels, start=1):
        for block in (1, 2):
            stride = 2 if number > 1 and block == 1 else 1
            parts.append((f"stage{number}_{block}", BasicBlock(inputs, outputs, stride=stride)))
            inputs = outputs
    parts += [
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("dense", SparseLinear(inputs, classes)),
    ]
    return nn.Sequential(OrderedDict(parts))
