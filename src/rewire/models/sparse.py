"""Networks in the sparse θ/sign parameterisation of Bayesian connectivity sampling.

Every weight is w = s·θ where θ > 0 and 0 elsewhere: θ is trained, the sign s ∈ {−1, +1} is fixed at
random, and the gradient reaches θ only where θ > 0 (Özdenizci and Legenstein 2021; thesis, section
2). All θ of a network are one flat parameter, so counting, noise, decay and update are one
operation each; layers are lent their weights for the duration of a forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.errors import InputError
from rewire.models.layout import SparseLayer, lay_out


class SparseConv2d(nn.Module):
    """Square convolution without bias, its weight lent by a `SparseNetwork`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0
    ):
        super().__init__()
        self.storage_shape = (outputs, kernel, kernel, inputs)
        self.stride, self.padding = stride, padding
        # oneDNN's 1×1 kernel with strides writes past its memory where a block of input channels is
        # not full (github.com/uxlfoundation/oneDNN/issues/6035): the strides are taken before it.
        self._picks = kernel == 1 and stride > 1 and padding == 0 and inputs % 16 != 0
        self.weight: Any = None  # a tensor inside `SparseNetwork.materialised`

    def forward(self, x: Tensor) -> Tensor:
        if self._picks and x.is_cpu:
            return F.conv2d(x[:, :, :: self.stride, :: self.stride], self.weight)
        return F.conv2d(x, self.weight, stride=self.stride, padding=self.padding)


class SparseLinear(nn.Module):
    """Dense layer with a (non-sparse) bias, its weight lent by a `SparseNetwork`."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.storage_shape = (outputs, inputs)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.weight: Any = None  # a tensor inside `SparseNetwork.materialised`

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class _Materialise(torch.autograd.Function):
    """(θ, s) → one weight tensor per layer; dL/dθ = s·dL/dw where θ > 0, else 0."""

    @staticmethod
    def forward(ctx, theta: Tensor, sign: Tensor, layers: tuple[SparseLayer, ...], dtype):
        # Rounding first gives the same weights (it keeps zeros, signs and the factor ±1) and moves
        # half of the bytes.
        flat = theta.to(dtype, copy=True).clamp_min_(0).mul_(sign)
        ctx.layers, ctx.dtype = layers, theta.dtype
        ctx.save_for_backward(flat)
        return tuple(layer.as_weight(layer.of(flat)) for layer in layers)

    @staticmethod
    def backward(ctx, *gradients):
        (weights,) = ctx.saved_tensors
        flat = torch.empty_like(weights, dtype=ctx.dtype)
        for layer, gradient in zip(ctx.layers, gradients, strict=True):
            # sgn(w) is s where θ > 0 and 0 elsewhere: sign and mask in one factor.
            signs = layer.of(weights).sign()
            torch.mul(layer.as_entries(gradient), signs, out=layer.of(flat))
        return flat, None, None, None


def through(body: nn.Module, x: Tensor) -> Tensor:
    """Logits of x, by the modules of a body."""
    return body(x)


class Runner(Protocol):
    """Computes the passes of a network in another way than its modules do (`rewire.engine`)."""

    def lend(self, model: SparseNetwork, *, detach: bool) -> Any:
        """The weights for passes to come; its `detached()` are the same without their graph."""

    def forward(self, model: SparseNetwork, x: Tensor, lent: Any) -> Tensor:
        """Logits, with weights that `lend` gave."""


class SparseNetwork(nn.Module):
    """A network whose convolutions and dense layers share one sparse parameter vector.

    Takes float images in [0, 1], (B, C, H, W), and returns logits (B, classes).

    Args:
        body: modules that use `SparseConv2d` and `SparseLinear`.
        p_init: fraction of entries connected at the start, one per sparse layer in network order.
        generator: source of the initial θ, connectivity and signs.

    Attributes:
        theta: (N,) trainable; an entry is connected where θ > 0.
        sign: (N,) fixed, ±1.
        layers: where each layer lies in the flat vector, in network order.

    Raises:
        InputError: if `p_init` has another length or a value outside [0, 1].
    """

    theta: nn.Parameter
    sign: Tensor

    def __init__(
        self, body: nn.Module, *, p_init: Sequence[float | Fraction], generator: torch.Generator
    ):
        super().__init__()
        self.body = body
        named = [
            (name, module)
            for name, module in body.named_modules()
            if isinstance(module, SparseConv2d | SparseLinear)
        ]
        self._modules_with_weight = [module for _, module in named]
        self.layers = lay_out((name, module.storage_shape) for name, module in named)
        check_p_init(p_init, self.layers)
        initial = [
            initial_theta(layer, p, generator=generator)
            for layer, p in zip(self.layers, p_init, strict=True)
        ]
        self.theta = nn.Parameter(torch.cat(initial))
        coin = torch.randint(0, 2, self.theta.shape, generator=generator, dtype=torch.int8)
        self.register_buffer("sign", coin.mul_(2).sub_(1).float())
        self._cast: tuple[tuple, Tensor] | None = None  # see `_sign_as`
        self._known: tuple[tuple, Tensor] | None = None  # see `connected`
        self.runner: Runner | None = None
        self._lent_to_runner: Any = None
        self.through: Callable[[nn.Module, Tensor], Tensor] = through

    def forward(self, x: Tensor) -> Tensor:
        with self.materialised():
            if self.runner is not None:
                return self.runner.forward(self, x, self._lent_to_runner)
            return self.through(self.body, x.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def connected(self) -> Tensor:
        """Sorted flat indices (K,) with a weight; found anew only after θ was changed.

        A change of values through `theta.data`, which PyTorch does not count, goes unseen.
        """
        if self._known is None or self._known[0] != _state_of(self.theta):
            with torch.inference_mode(False):  # trainings go on with it
                self.know_connected((self.flat_weights() != 0).nonzero()[:, 0])
        assert self._known is not None
        return self._known[1]

    def know_connected(self, connected: Tensor) -> None:
        """Take `connected` for what `connected()` would find, until θ is changed."""
        self._known = _state_of(self.theta), connected

    @contextmanager
    def materialised(self, *, detach: bool = False) -> Iterator[None]:
        """Fix the weights for all forward passes inside: computed once, with one graph to θ.

        Under autocast they are cast to the autocast type once, too. Nested use keeps the outer
        weights; with `detach=True` the inner passes see them without their graph, as attacks want.
        """
        if self.runner is not None:
            outer = self._lent_to_runner
            inner = self.runner.lend(self, detach=detach) if outer is None else outer
            self._lent_to_runner = inner.detached() if detach else inner
            try:
                yield
            finally:
                self._lent_to_runner = outer
            return
        modules = self._modules_with_weight
        outer = [module.weight for module in modules]
        if outer[0] is not None:
            weights = tuple(w.detach() for w in outer) if detach else tuple(outer)
        else:
            theta = self.theta.detach() if detach else self.theta
            weights = self._lent(theta, self._weight_type())
        for module, weight in zip(modules, weights, strict=True):
            module.weight = weight
        try:
            yield
        finally:
            for module, weight in zip(modules, outer, strict=True):
                module.weight = weight

    @contextmanager
    def by_modules(self) -> Iterator[None]:
        """Inside, passes go through the modules one by one, whatever computes them elsewhere."""
        runner, self.runner = self.runner, None
        try:
            yield
        finally:
            self.runner = runner

    def _lent(self, theta: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """One weight per layer from the flat parameter, in PyTorch's shapes."""
        return _Materialise.apply(theta, self._sign_as(dtype), self.layers, dtype)

    def _sign_as(self, dtype: torch.dtype) -> Tensor:
        """The signs in the type of the weights; cast anew only when they were replaced."""
        if dtype == self.sign.dtype:
            return self.sign
        key = (dtype, self.sign.data_ptr(), self.sign._version)
        if self._cast is None or self._cast[0] != key:
            self._cast = key, self.sign.to(dtype)
        return self._cast[1]

    def _weight_type(self) -> torch.dtype:
        device = self.theta.device.type
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return self.theta.dtype

    @torch.no_grad()
    def flat_weights(self) -> Tensor:
        """(N,) all weights in one vector, in the order of θ."""
        return self.theta.clamp_min(0) * self.sign

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """Layer name → weight as a float tensor in storage order (see `SparseLayer.shape`)."""
        flat = self.flat_weights()
        return {layer.name: layer.of(flat).view(layer.shape) for layer in self.layers}

    @torch.no_grad()
    def set_weights(self, weights: dict[str, Tensor]) -> None:
        """Replace all weights, keeping the signs of entries that become unconnected.

        Args:
            weights: layer name → (layer.shape) tensor, for every layer.

        Raises:
            InputError: for missing or other layers, or another shape.
        """
        expected = {layer.name: tuple(layer.shape) for layer in self.layers}
        given = {name: tuple(weight.shape) for name, weight in weights.items()}
        if expected != given:
            raise InputError(f"weights of another network: got {given}, allowed {expected}")
        flat = torch.cat([weights[layer.name].reshape(-1) for layer in self.layers])
        flat = flat.to(self.theta)
        self.theta.copy_(flat.abs())
        self.sign.copy_(torch.where(flat != 0, flat.sign(), self.sign))


def _state_of(tensor: Tensor) -> tuple:
    """Another one after every change of the tensor's values or place."""
    return tensor._version, tensor.data_ptr()


def initial_theta(
    layer: SparseLayer, p_init: float | Fraction, *, generator: torch.Generator
) -> Tensor:
    """|truncated He normal| on ⌊p_init·size⌋ random entries, exactly 0 elsewhere: (size,).

    The standard deviation √(2/fan-in) is that of the dense layer, not rescaled by the density, and
    is restored after the truncation at two standard deviations, as in TensorFlow's `he_normal`.
    """
    # 0.8796… is the standard deviation of a unit normal truncated to [−2, 2].
    std = math.sqrt(2 / layer.vectors) / 0.87962566103423978
    theta = torch.zeros(layer.size)
    count = int(p_init * layer.size)
    chosen = torch.randperm(layer.size, generator=generator)[:count]
    values = torch.empty(count)
    nn.init.trunc_normal_(values, std=std, a=-2 * std, b=2 * std, generator=generator)
    # One draw in millions is 0, which would leave the entry unconnected.
    theta[chosen] = values.abs().clamp_min_(torch.finfo(values.dtype).tiny)
    return theta


def check_p_init(p_init: Sequence[float | Fraction], layers: Sequence[SparseLayer]) -> None:
    if len(p_init) != len(layers):
        raise InputError(
            f"p_init has {len(p_init)} values for {len(layers)} sparse layers "
            f"({', '.join(layer.name for layer in layers)})"
        )
    for layer, p in zip(layers, p_init, strict=True):
        if not 0 <= p <= 1:
            raise InputError(f"p_init of layer '{layer.name}' is {p}. Allowed: 0 to 1.")
