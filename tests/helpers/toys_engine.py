"""Single layers on the engine, the float64 arithmetic that judges them, and bounds of errors.

A sum of products x·w is judged beside Σ|x|·|w|, so that no cancellation excuses an error: computed
in float32 it is off by at most `SUM` of that. Stored as bfloat16 it is rounded to 8 bits, at most
2⁻⁸ of its value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.engine.blocked import pack, unpack
from rewire.engine.index import Index, LayerIndex
from rewire.engine.library import Geometry, lanes
from rewire.engine.ops import convolve, linear
from rewire.models.layout import lay_out

SUM = 1e-6
ROUNDING = {torch.float32: 0.0, torch.bfloat16: 2.0**-8}
STORAGES = tuple(ROUNDING)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_sums_close(given: Tensor, exact: Tensor, terms: Tensor, storage: torch.dtype) -> None:
    """`given` is `exact` but for float32 sums over `terms` (Σ of absolute terms) and rounding."""
    assert given.dtype == torch.float32
    assert given.shape == exact.shape
    error = (given.double() - exact).abs()
    allowed = SUM * terms + ROUNDING[storage] * (exact.abs() + SUM * terms)
    worst = (error / allowed.clamp_min(1e-300)).max() if error.numel() else torch.tensor(0.0)
    assert (error <= allowed).all(), f"{float(worst):.3g} times the error that is allowed"


@dataclass(frozen=True)
class Layer:
    """A convolution of square kernels, or a dense layer (kernel 0), with some weights connected.

    Attributes:
        mask: (outputs, kernel, kernel, inputs) or (outputs, inputs), what is connected.
        weight: the same shape, 0 where nothing is connected.
        part: its index for maps of `image`, one of three layers of an index.
        values: (n,) connected weights in storage order.
    """

    stride: int
    padding: int
    weight: Tensor
    mask: Tensor
    part: LayerIndex

    @property
    def values(self) -> Tensor:
        return self.weight[self.mask]

    @property
    def dense(self) -> Tensor:
        """The weight in PyTorch's shape, float64."""
        weight = self.weight.double()
        return weight.permute(0, 3, 1, 2) if weight.ndim == 4 else weight

    def entries(self, weight: Tensor) -> Tensor:
        """Those of a tensor in PyTorch's shape that are connected, (n,) in storage order."""
        stored = weight.permute(0, 2, 3, 1) if weight.ndim == 4 else weight
        return stored[self.mask]


def random_mask(shape: tuple[int, ...], *, density: float, seed: int) -> Tensor:
    """Connections at random; some rows are empty and some are full unless the density is 0 or 1."""
    source = seeded(seed)
    mask = torch.rand(shape, generator=source) < density
    if 0 < density < 1:
        kind = torch.randint(0, 6, shape[:1], generator=source)
        mask[kind == 0] = False
        mask[kind == 1] = True
    return mask


def layer(
    mask: Tensor,
    image: tuple[int, int] = (1, 1),
    *,
    stride: int = 1,
    padding: int = 0,
    storage: torch.dtype = torch.float32,
    seed: int = 0,
) -> Layer:
    """A layer with random weights where the mask is set, as the second of three of a network."""
    source = seeded(seed)
    weight = torch.randn(mask.shape, generator=source) * mask
    # A connected weight may be 0 (its θ was rounded to it), and its gradient still counts.
    weight[torch.rand(mask.shape, generator=source) < 0.02] = 0
    others = [torch.rand(3, 5, generator=source) < 0.5 for _ in range(2)]
    layers = lay_out(
        [("before", (3, 5)), ("this", tuple(mask.shape)), ("behind", (3, 5))],
    )
    flat = torch.cat([others[0].flatten(), mask.flatten(), others[1].flatten()])
    if mask.ndim == 4:
        outputs, kernel, _, inputs = mask.shape
        sizes = [(size + 2 * padding - kernel) // stride + 1 for size in image]
        here = Geometry(
            inputs, outputs, *image, kernel, stride, padding, *sizes, lanes(storage)
        )  # fmt: skip
    else:
        outputs, inputs = mask.shape
        here = Geometry(inputs, outputs, 1, 1, 1, 1, 0, 1, 1, lanes(torch.float32))
    other = Geometry(5, 3, 1, 1, 1, 1, 0, 1, 1, lanes(torch.float32))
    index = Index(flat.nonzero()[:, 0], layers, [other, here, other])
    values = torch.cat([torch.ones(int(m.sum())) for m in others[:1]] + [weight[mask]])
    index.set_weights(torch.cat([values, torch.ones(int(others[1].sum()))]))
    return Layer(stride, padding, weight, mask, index.layers[1])


def run_engine(
    of: Layer, x: Tensor, gradient: Tensor, storage: torch.dtype, *, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(output, input gradient, gradient of the connected weights)."""
    x, values = x.detach().requires_grad_(), of.values.requires_grad_()
    if of.weight.ndim == 4:
        out = unpack(convolve(pack(x, storage), values, of.part))
    else:
        out = linear(x, values, bias, of.part)
    before, dw = torch.autograd.grad(out, (x, values), gradient)
    return out.detach(), before, dw


def run_exact(
    of: Layer, x: Tensor, gradient: Tensor, *, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The same by PyTorch's dense layers, all in float64."""
    x, weight = x.detach().double().requires_grad_(), of.dense.requires_grad_()
    if weight.ndim == 4:
        out = F.conv2d(x, weight, stride=of.stride, padding=of.padding)
    else:
        out = F.linear(x, weight, None if bias is None else bias.double())
    before, dw = torch.autograd.grad(out, (x, weight), gradient.double())
    return out.detach(), before, of.entries(dw)


def sums_of_sizes(
    of: Layer, x: Tensor, gradient: Tensor, *, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The same sums of the absolute values of all terms."""
    positive = Layer(of.stride, of.padding, of.weight.abs(), of.mask, of.part)
    return run_exact(positive, x.abs(), gradient.abs(), bias=None if bias is None else bias.abs())


def relative(given: Tensor, exact: Tensor) -> float:
    """Euclidean distance over the length of `exact`."""
    given, exact = given.detach().double(), exact.detach().double()
    return float((given - exact).norm() / exact.norm().clamp_min(1e-300))


def modules(network: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, kind)]
