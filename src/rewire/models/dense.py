"""The dense ANN and the CNN of the article, for MNIST."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.errors import InputError, unknown_name
from rewire.models.vgg import scaled
from rewire.registry import Registry
from rewire.rng import generator

SIDE = 28
PIXELS = SIDE * SIDE
CLASSES = 10
OUTPUT = "output"
"""Name of the output layer."""
INITIAL_BIAS = 0.1
OUTPUT_SIGMA = 0.01
KEEP_UNITS = 0.7
DROP_WEIGHTS = 0.7
DROPOUTS = ("none", "unit", "dropconnect")
Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class Architecture:
    """Layer sizes at width 1.

    Attributes:
        hidden: units of the hidden dense layers.
        convolutions: (kernel size, filters) of the convolutions before them.
    """

    hidden: tuple[int, ...]
    convolutions: tuple[tuple[int, int], ...] = ()


DENSE_MODELS: Registry[Architecture] = Registry("network")
DENSE_MODELS.register("ann")(Architecture((1500, 800, 400)))
DENSE_MODELS.register("ann_article")(Architecture((1500, 1000, 800)))
DENSE_MODELS.register("cnn")(Architecture((1500, 500), ((7, 12), (5, 15), (3, 25), (3, 20))))


class DenseNetwork(nn.Module):
    """ReLU layers on 28 x 28 images: convolutions, if any, then dense layers, then 10 logits.

    Takes float images (B, 1, 28, 28) or (B, 784) in [0, 1] and returns logits (B, 10). The
    convolutions keep height and width (stride 1, zero padding), nothing is pooled. Noise on the
    images is the caller's.

    Args:
        architecture: layer sizes.
        width: factor on all hidden units and filters; each is rounded, at least 1.
        dropout: active in training mode only. "none": as the author's code ran. "unit": hidden
            dense units are kept with probability 0.7 and scaled by 1/0.7. "dropconnect": weights
            are dropped with probability 0.7, one mask per forward pass, in every layer but the
            output and the last convolution: what the author's code would have done in training,
            had the setting been passed on. It does not scale, so logits grow when it is off.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        width: float,
        dropout: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        kernels = [kernel for kernel, _ in architecture.convolutions]
        filters = [scaled(count, width) for _, count in architecture.convolutions]
        units = [scaled(count, width) for count in architecture.hidden]
        # skip_init: the layers' own initialisation would draw from the global generator.
        self.filters = nn.ModuleDict(
            {
                f"conv{number}": nn.utils.skip_init(
                    nn.Conv2d, inputs, outputs, kernel, padding=kernel // 2
                )
                for number, (kernel, (inputs, outputs)) in enumerate(
                    zip(kernels, pairwise([1, *filters]), strict=True), start=1
                )
            }
        )
        features = filters[-1] * PIXELS if filters else PIXELS
        self.hidden = nn.ModuleDict(
            {
                f"dense{number}": nn.utils.skip_init(nn.Linear, inputs, outputs)
                for number, (inputs, outputs) in enumerate(pairwise([features, *units]), start=1)
            }
        )
        self.output: nn.Linear = nn.utils.skip_init(nn.Linear, units[-1], CLASSES)
        self.dropout = dropout
        self._dropout_generator: torch.Generator | None = None
        self._lent: dict[Layer, tuple[Tensor, Tensor]] = {}  # see `materialised`
        self._initialise(generator)
        for conv in self.convolutions().values():  # a fifth faster on a CPU
            conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _initialise(self, source: torch.Generator) -> None:
        """Truncated normal weights, constant biases (article's code).

        sigma is sqrt(3 / (in + out)) for a dense layer, sqrt(3 / (28 + kernel^2 filters)) for a
        convolution and 0.01 for the output; cut at 2 sigma, so the realised deviation is 0.88
        sigma.
        """
        sigmas: list[tuple[Layer, float]] = [
            (conv, math.sqrt(3 / (SIDE + conv.kernel_size[0] ** 2 * conv.out_channels)))
            for conv in self.convolutions().values()
        ]
        sigmas += [
            (layer, math.sqrt(3 / (layer.in_features + layer.out_features)))
            for layer in self.linears().values()
        ]
        for layer, sigma in [*sigmas, (self.output, OUTPUT_SIGMA)]:
            assert layer.bias is not None
            nn.init.trunc_normal_(
                layer.weight, std=sigma, a=-2 * sigma, b=2 * sigma, generator=source
            )
            layer.bias.fill_(INITIAL_BIAS)

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, dropout=self.dropout if self.training else "none", inputs={})

    @contextmanager
    def materialised(self, *, detach: bool = False) -> Iterator[None]:
        """Under autocast: fix the weights for all passes inside, cast once; else nothing.

        The output layer, which autocast leaves alone, is not among them. Nested use keeps the outer
        weights; with `detach=True` the passes see them without their graph, as attacks want.
        """
        outer, device = self._lent, self.output.weight.device.type
        lent = dict(outer)
        if not outer and torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            layers: list[Layer] = [*self.convolutions().values(), *self.linears().values()]
            for layer in layers:
                weight, bias = _own(layer)
                lent[layer] = weight.to(dtype), bias.to(dtype)
        if detach:
            lent = {layer: (w.detach(), b.detach()) for layer, (w, b) in lent.items()}
        self._lent = lent
        try:
            yield
        finally:
            self._lent = outer

    def matrices(self) -> dict[str, Tensor]:
        """The weights (out, in) of the hidden dense layers by name, in network order."""
        return {name: layer.weight for name, layer in self.linears().items()}

    def output_matrix(self) -> Tensor:
        """The weights (10, in) of the output layer, which `inputs_of` calls "output"."""
        return self.output.weight

    def convolutions(self) -> dict[str, nn.Conv2d]:
        """The convolutions by name, in network order; none in an ANN."""
        return cast(dict[str, nn.Conv2d], dict(self.filters.items()))

    def linears(self) -> dict[str, nn.Linear]:
        """The hidden dense layers by name, in network order."""
        return cast(dict[str, nn.Linear], dict(self.hidden.items()))

    def inputs_of(self, x: Tensor) -> dict[str, Tensor]:
        """What every weight matrix is multiplied by for images `x`, dropout aside.

        Returns:
            Layer name -> (B, in) in network order, "output" last: pixels or the flattened last
            convolution for the first one, ReLU outputs after that.
        """
        inputs: dict[str, Tensor] = {}
        self._run(x, dropout="none", inputs=inputs)
        return inputs

    def set_dropout_generator(self, generator: torch.Generator) -> None:
        """Use `generator` for the dropout of the next forward passes; set one for every step."""
        self._dropout_generator = generator

    def _run(self, x: Tensor, *, dropout: str, inputs: dict[str, Tensor]) -> Tensor:
        """Logits of `x`; writes the input of every dense layer into `inputs`."""
        if tuple(x.shape[1:]) not in ((1, SIDE, SIDE), (PIXELS,)):
            raise InputError(
                f"images of shape {tuple(x.shape)} do not fit this network. "
                f"Allowed: (B, 1, {SIDE}, {SIDE}) or (B, {PIXELS}), as the embedded MNIST gives."
            )
        connect = dropout == "dropconnect"
        if self.filters:
            x = x.reshape(len(x), 1, SIDE, SIDE)
        for number, conv in enumerate(self.convolutions().values(), start=1):
            weight, bias = self._lent.get(conv) or _own(conv)
            if connect and number < len(self.filters):
                weight = self._thinned(weight)
            x = F.relu(F.conv2d(x, weight, bias, padding=conv.padding))
        x = x.flatten(1)
        for name, layer in self.linears().items():
            inputs[name] = x
            weight, bias = self._lent.get(layer) or _own(layer)
            if connect:
                weight = self._thinned(weight)
            x = F.relu(F.linear(x, weight, bias))
            if dropout == "unit":
                x = x * self._kept(x, KEEP_UNITS) / KEEP_UNITS
        inputs[OUTPUT] = x
        # Residuals of a quadratic head are smaller than bf16 resolves near 1.
        with torch.autocast(x.device.type, enabled=False):
            weight = self.output.weight
            return F.linear(x.to(weight), weight, self.output.bias)

    def _thinned(self, weight: Tensor) -> Tensor:
        return weight * self._kept(weight, 1 - DROP_WEIGHTS)

    def _kept(self, like: Tensor, probability: float) -> Tensor:
        """A mask of the shape of `like`: 1 with this probability, else 0."""
        source = self._dropout_generator
        assert source is not None, "set_dropout_generator comes before training with dropout"
        kept = torch.rand(like.shape, generator=source, device=source.device) < probability
        return kept.to(like)


def _own(layer: Layer) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer."""
    assert layer.bias is not None
    return layer.weight, layer.bias


def build_dense(name: str, *, seed: int, width: float = 1.0, dropout: str = "none") -> DenseNetwork:
    """A freshly initialised network of the article.

    Args:
        name: a key of `DENSE_MODELS`: "ann" (784-1500-800-400-10, the network behind the published
            plots), "ann_article" (784-1500-1000-800-10, as the text says) or "cnn" (four
            convolutions, 15 680-1500-500-10).
        seed: of the initial weights.
        width: factor on all hidden sizes; 1 is the article's network.
        dropout: "none", "unit" or "dropconnect"; see `DenseNetwork`.

    Raises:
        InputError: for an unknown name or dropout, or a width that is not positive and finite.
    """
    if not (isinstance(width, int | float) and 0 < width < math.inf):
        raise InputError(f"network.width is {width}. Allowed: above 0; 1 is the full network.")
    if dropout not in DROPOUTS:
        raise unknown_name("dropout", dropout, DROPOUTS)
    return DenseNetwork(
        DENSE_MODELS[name], width=width, dropout=dropout, generator=generator(seed, "network")
    )
