"""VGG11 and VGG16 for 32×32 images, as in the thesis (section 1) and its reference code."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from rewire.models.norm import BatchNorm2d
from rewire.models.sparse import SparseConv2d, SparseLinear
from rewire.registry import MODELS

# Output channels; "M" is a 2×2 max-pool.
VGG11 = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512)
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)
HIDDEN = 256


class FlattenChannelsLast(nn.Module):
    """(B, C, H, W) → (B, H·W·C), ordered height, width, channel as in the reference (thesis, 1).

    Neighbours along the input axis of the dense layer behind it are channels of one position. It
    copies nothing where x is stored channels-last.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def scaled(channels: int, width: float) -> int:
    """Channels of a thinner or wider network: rounded, at least 1."""
    return max(1, round(channels * width))


def vgg(plan: tuple[int | str, ...], *, width: float, classes: int, image_size: int) -> nn.Module:
    """Convolutions (3×3, padding 1, no bias) with BatchNorm and ReLU, then three dense layers.

    The four pools leave (image_size/16)² positions of the last width, 2·2·512 for the thesis. The
    dense part (256, 256, classes) has biases and no BatchNorm.
    """
    parts: list[tuple[str, nn.Module]] = []
    inputs, convolutions, pools = 3, 0, 0
    for item in plan:
        if item == "M":
            pools += 1
            parts.append((f"pool{pools}", nn.MaxPool2d(2)))
            continue
        convolutions += 1
        outputs = scaled(int(item), width)
        parts += [
            (f"conv{convolutions}", SparseConv2d(inputs, outputs, 3, padding=1)),
            # TensorFlow's momentum .9 of the running average is PyTorch's .1.
            (f"norm{convolutions}", BatchNorm2d(outputs, eps=1e-5, momentum=0.1)),
            (f"relu{convolutions}", nn.ReLU(inplace=True)),
        ]
        inputs = outputs
    hidden = scaled(HIDDEN, width)
    features = inputs * (image_size // 2**pools) ** 2
    parts += [
        ("flatten", FlattenChannelsLast()),
        ("dense1", SparseLinear(features, hidden)),
        ("relu_dense1", nn.ReLU(inplace=True)),
        ("dense2", SparseLinear(hidden, hidden)),
        ("relu_dense2", nn.ReLU(inplace=True)),
        ("dense3", SparseLinear(hidden, classes)),
    ]
    return nn.Sequential(OrderedDict(parts))


@MODELS.register("vgg11")
def vgg11(*, width: float, classes: int, image_size: int) -> nn.Module:
    """VGG11 of the thesis: 9,810,112 weights in 22,747 vectors at width 1."""
    return vgg(VGG11, width=width, classes=classes, image_size=image_size)


@MODELS.register("vgg16")
def vgg16(*, width: float, classes: int, image_size: int) -> nn.Module:
    """VGG16 of the reference code."""
    return vgg(VGG16, width=width, classes=classes, image_size=image_size)
