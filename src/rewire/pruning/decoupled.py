"""Convolutions as sparse matrices in which every spatial copy of a weight is a weight of its own.

The article's "decoupled" CNN: one matrix (H·W·C_in, H·W·C_out) per convolution in compressed
sparse rows, inputs and outputs in the order row, column, channel. Copies can then be pruned
independently of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from torch import nn

from rewire.errors import InputError
from rewire.registry import Registry

FLATTENINGS = ("chw", "hwc")

Score = Callable[[sparse.csr_array, np.ndarray | None], np.ndarray]
"""(matrix (in, out), mean input (in,)) → one number per stored entry; the smallest go first."""

SCORES: Registry[Score] = Registry("metric for decoupled matrices")


def decouple(
    conv: nn.Conv2d, height: int, width: int, *, dtype: Any = np.float32
) -> sparse.csr_array:
    """The matrix of a SAME convolution with stride 1: flat output = flat input @ matrix + bias.

    Built from index arithmetic, without a dense intermediate. A weight that is zero is stored like
    any other: the number of stored entries depends on the shape alone. For a kernel of k rows and
    columns it is (overlaps)² · C_in · C_out, overlaps = the sum over the k rows of the number of
    output rows for which they lie inside the image.

    Args:
        conv: odd kernel, stride 1, padding k // 2, no groups, no dilation; its bias is not used.
        height: of the image, in pixels.
        width: of the image.
        dtype: of the entries; the article's code uses float64.

    Returns:
        (H·W·C_in, H·W·C_out), index = (row · W + column) · channels + channel.

    Raises:
        InputError: for another kind of convolution.
    """
    rows, columns = conv.kernel_size
    _check_same(conv)
    top, out_row, in_row = _overlaps(rows, height)
    left, out_column, in_column = _overlaps(columns, width)
    # All pairs of a row overlap and a column overlap: (offsets, 1, 1) positions and kernel places.
    place_in = (in_row[:, None] * width + in_column).reshape(-1, 1, 1)
    place_out = (out_row[:, None] * width + out_column).reshape(-1, 1, 1)
    weight = conv.weight.detach().cpu().numpy().astype(dtype)
    kernel = weight.transpose(2, 3, 1, 0)  # kernel row, kernel column, in, out
    values = kernel[top[:, None], left].reshape(-1, *kernel.shape[2:])

    source = place_in * conv.in_channels + np.arange(conv.in_channels)[:, None]
    target = place_out * conv.out_channels + np.arange(conv.out_channels)
    shape = tuple(height * width * n for n in (conv.in_channels, conv.out_channels))
    index = [np.broadcast_to(i, values.shape).ravel().astype(np.int32) for i in (source, target)]
    matrix = sparse.coo_array((values.ravel(), tuple(index)), shape=shape).tocsr()
    matrix.sort_indices()
    return matrix


def _check_same(conv: nn.Conv2d) -> None:
    same = tuple(size // 2 for size in conv.kernel_size)
    found = {
        "kernel": conv.kernel_size,
        "stride": conv.stride,
        "padding": same if conv.padding == "same" else conv.padding,
        "dilation": conv.dilation,
        "groups": conv.groups,
        "padding mode": conv.padding_mode,
    }
    allowed = {
        "kernel": tuple(2 * size + 1 for size in same),
        "stride": (1, 1),
        "padding": same,
        "dilation": (1, 1),
        "groups": 1,
        "padding mode": "zeros",
    }
    for name, value in found.items():
        if value != allowed[name]:
            raise InputError(
                f"the {name} of the convolution is {value}. Allowed for decoupling: "
                f"{allowed[name]} (SAME, stride 1, odd kernel)."
            )


def _overlaps(kernel: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(kernel index, output index, input index) wherever the kernel lies inside 0..size - 1."""
    offset, output = np.meshgrid(np.arange(kernel), np.arange(size), indexing="ij")
    inside = output + offset - kernel // 2
    valid = (inside >= 0) & (inside < size)
    return offset[valid], output[valid], inside[valid]


def dense_as_csr(weight: np.ndarray) -> sparse.csr_array:
    """All entries of (in, out) as stored ones, zeros included."""
    inputs, outputs = weight.shape
    index = np.tile(np.arange(outputs, dtype=np.int32), inputs)
    starts = np.arange(inputs + 1, dtype=np.int32 if weight.size < 2**31 else np.int64) * outputs
    return sparse.csr_array((weight.ravel(), index, starts), shape=weight.shape)


@dataclass(frozen=True)
class DecoupledLayer:
    """One layer: `weight` (in, out), sparse or dense, and `bias` (out,)."""

    name: str
    weight: sparse.csr_array | np.ndarray
    bias: np.ndarray

    @property
    def entries(self) -> int:
        """Number of stored weights; zeros that are stored count."""
        return self.weight.size if isinstance(self.weight, np.ndarray) else self.weight.nnz

    def active_entries(self, mean: np.ndarray) -> int:
        """Number of stored weights whose input has a mean (in,) other than 0."""
        outputs = self.weight.shape[1]
        weight = self.weight
        each = outputs if isinstance(weight, np.ndarray) else np.diff(weight.indptr)
        return int(((mean != 0) * each).sum())


@dataclass(frozen=True)
class DecoupledNetwork:
    """A network of sparse matrices: x @ W + b with ReLU between, run by SciPy on one thread.

    Attributes:
        layers: in network order; convolutions first.
        final_relu: whether the output passes a ReLU, too, as in the article's code. An output
            without a positive entry is then all zero and counts as class 0.
    """

    layers: tuple[DecoupledLayer, ...]
    final_relu: bool = False

    @classmethod
    def from_modules(
        cls,
        convs: Sequence[nn.Conv2d],
        linears: Sequence[nn.Linear],
        *,
        height: int = 28,
        width: int = 28,
        flatten: str = "chw",
        final_relu: bool = False,
        sparse_linears: bool = True,
        dtype: Any = np.float32,
    ) -> DecoupledNetwork:
        """Decouple a CNN of SAME convolutions and dense layers, with ReLU after each but the last.

        Args:
            convs: in network order, named conv1, conv2, ...
            linears: in network order, named fc1, fc2, ..., out.
            height: of the images.
            width: of the images.
            flatten: the order in which the CNN flattens the last convolution's output: "chw" as
                PyTorch does, "hwc" as the article's framework.
            final_relu: see the class.
            sparse_linears: whether dense layers become sparse matrices with all entries stored, as
                in the article; else they stay dense, which is the same function and faster.
            dtype: of all numbers; the article's code uses float64.

        Raises:
            InputError: for an unknown order or a convolution that is not SAME with stride 1.
        """
        if flatten not in FLATTENINGS:
            raise InputError(f"flatten is {flatten!r}. Allowed: {', '.join(FLATTENINGS)}.")
        layers = []
        for number, conv in enumerate(convs, start=1):
            bias = np.tile(_bias(conv, conv.out_channels, dtype), height * width)
            weight = decouple(conv, height, width, dtype=dtype)
            layers.append(DecoupledLayer(f"conv{number}", weight, bias))
        for number, linear in enumerate(linears, start=1):
            weight = linear.weight.detach().cpu().numpy().T.astype(dtype)
            if number == 1 and convs and flatten == "chw":
                by_channel = weight.reshape(-1, height * width, weight.shape[1])
                weight = by_channel.swapaxes(0, 1).reshape(weight.shape)
            weight = np.ascontiguousarray(weight)
            name = "out" if number == len(linears) else f"fc{number}"
            stored = dense_as_csr(weight) if sparse_linears else weight
            layers.append(DecoupledLayer(name, stored, _bias(linear, linear.out_features, dtype)))
        return cls(tuple(layers), final_relu)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits (B, classes) of images (B, ...) with one channel or channels last."""
        return self._through(self._flat(images), 0, len(self.layers))

    def mean_inputs(self, images: np.ndarray, *, batch_size: int = 100) -> dict[str, np.ndarray]:
        """Layer name → mean input float64 (in,) over images (N, ...).

        Raises:
            InputError: for no image.
        """
        if not len(images):
            raise InputError("no image for the mean inputs. Allowed: at least one.")
        sums: dict[str, np.ndarray] = {}
        for start in range(0, len(images), batch_size):
            x = self._flat(images[start : start + batch_size])
            for index, layer in enumerate(self.layers):
                sums[layer.name] = sums.get(layer.name, 0) + x.sum(axis=0, dtype=np.float64)
                x = self._output(index, x)
        return {name: total / len(images) for name, total in sums.items()}

    def _flat(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(images, self.layers[0].bias.dtype).reshape(len(images), -1)

    def _through(self, x: np.ndarray, start: int, stop: int) -> np.ndarray:
        for index in range(start, stop):
            x = self._output(index, x)
        return x

    def _output(self, index: int, x: np.ndarray) -> np.ndarray:
        layer = self.layers[index]
        x = x @ layer.weight + layer.bias
        last = index + 1 == len(self.layers)
        return x if last and not self.final_relu else np.maximum(x, 0)

    def pruned(self, matrices: Mapping[str, sparse.csr_array]) -> DecoupledNetwork:
        """This network with some matrices replaced, by layer name; biases stay."""
        return replace(
            self,
            layers=tuple(
                replace(layer, weight=matrices.get(layer.name, layer.weight))
                for layer in self.layers
            ),
        )


def logits_of(networks: Sequence[DecoupledNetwork], images: np.ndarray) -> list[np.ndarray]:
    """Logits (B, classes) of networks that `pruned` made of one network, and of that one.

    Layers before the first one that differs are computed once; the result is exactly what every
    network gives by itself.
    """
    first = networks[0]
    shared = 0
    for same in zip(*(network.layers for network in networks), strict=True):
        if any(layer.weight is not same[0].weight for layer in same):
            break
        shared += 1
    x = first._through(first._flat(images), 0, shared)
    return [network._through(x, shared, len(network.layers)) for network in networks]


def _bias(module: nn.Linear | nn.Conv2d, outputs: int, dtype: Any) -> np.ndarray:
    if module.bias is None:
        return np.zeros(outputs, dtype)
    return module.bias.detach().cpu().numpy().astype(dtype)


@SCORES.register("absolute")
def absolute(matrix: sparse.csr_array, mean: np.ndarray | None = None) -> np.ndarray:
    """|w|: what the article's code does also where it says "activated"."""
    return np.abs(matrix.data)


@SCORES.register("activated")
def activated(matrix: sparse.csr_array, mean: np.ndarray | None) -> np.ndarray:
    """|w · mean x|, with the mean input at the place of each copy: the intended metric."""
    assert mean is not None, "the activated metric needs mean inputs"
    return np.abs(matrix.data) * np.repeat(np.abs(mean), np.diff(matrix.indptr))


def prune_entries(matrix: sparse.csr_array, score: np.ndarray, ratio: float) -> sparse.csr_array:
    """Drop the int(ratio · stored) entries with the smallest score; ties in storage order.

    (1 − ratio) · stored entries remain. Prune the whole matrix each time: then a larger ratio
    removes what a smaller one does, and more.

    Args:
        matrix: (in, out); its stored zeros count as entries.
        score: one number per stored entry, in the order of `matrix.data`.
        ratio: share of the stored entries, in [0, 1].

    Raises:
        InputError: for a ratio outside [0, 1].
    """
    if not 0 <= ratio <= 1:
        raise InputError(f"the pruning ratio is {ratio}. Allowed: from 0 to 1.")
    assert score.shape == matrix.data.shape, "one score per stored entry"
    kept = np.ones(matrix.nnz, bool)
    kept[np.argsort(score, kind="stable")[: int(ratio * matrix.nnz)]] = False
    starts = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr].astype(matrix.indptr.dtype)
    return sparse.csr_array((matrix.data[kept], matrix.indices[kept], starts), matrix.shape)
