"""Pruning by value: absolute, activated, combined, and two controls (article).

A metric gives every weight of a matrix a number; the smallest numbers go first, separately in each
matrix, without retraining. Biases are never pruned, the output layer only on request. All rankings
are of the unpruned network and used for every ratio, so that masks are nested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rewire.errors import InputError, unknown_name
from rewire.models.dense import DenseNetwork
from rewire.registry import Registry
from rewire.rng import generator

Masks = dict[str, Tensor]
"""Matrix name → bool (out, in), True where the weight is kept; absent matrices are kept whole."""

Ratio = float | Mapping[str, float]
"""Share of weights that go: the same of every ranked matrix, or matrix name → its own."""
Pruning = Mapping[str, Ratio]
"""Metric → how far it prunes; what any of them removes goes."""

Metric = Callable[[Tensor, Any, torch.Generator], Tensor]
"""(weight (out, in), mean input (in,) or None, generator) → (out, in); the smallest go first."""

METRICS: Registry[Metric] = Registry("pruning metric")
NEED_MEANS = ("activated", "mean_x")
PIXELS = 28 * 28


@METRICS.register("absolute")
def absolute(weight: Tensor, mean: Any, source: torch.Generator) -> Tensor:
    """|w|."""
    return weight.abs()


@METRICS.register("activated")
def activated(weight: Tensor, mean: Any, source: torch.Generator) -> Tensor:
    """|mean over images of w_ij · x_i|, which is |w_ij| · |mean x_i|."""
    return weight.abs() * mean.abs()


@METRICS.register("mean_x")
def mean_x(weight: Tensor, mean: Any, source: torch.Generator) -> Tensor:
    """|mean x_i| without the weight: a control that removes whole inputs."""
    return mean.abs().expand_as(weight)


@METRICS.register("random")
def random(weight: Tensor, mean: Any, source: torch.Generator) -> Tensor:
    """Uniform in [0, 1), drawn on the CPU: the same for every device."""
    return torch.rand(weight.shape, generator=source).to(weight.device)


@torch.no_grad()
def weight_matrices(model: DenseNetwork, *, include_output: bool = False) -> dict[str, Tensor]:
    """The weight matrices (out, in) of `model` by name, in network order.

    `include_output` adds the output layer, under the name that `model.inputs_of` gives it.
    """
    weights = dict(model.matrices())
    if include_output:
        output = model.output_matrix()
        names = model.inputs_of(output.new_zeros(1, PIXELS))
        (name,) = (name for name in names if name not in weights)
        weights[name] = output
    return weights


@torch.no_grad()
def score(
    model: DenseNetwork,
    metric: str,
    *,
    means: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    include_output: bool = False,
) -> dict[str, Tensor]:
    """The metric of every weight.

    Args:
        model: the unpruned network.
        metric: a name in `METRICS`.
        means: what `inputs.mean_inputs` gave; for "activated" and "mean_x".
        seed: for "random".
        include_output: whether the output layer is scored, too, and so pruned.

    Returns:
        Matrix name → (out, in), in network order.

    Raises:
        InputError: for an unknown metric, or one whose mean inputs are missing.
    """
    function = METRICS[metric]
    if metric in NEED_MEANS and means is None:
        raise InputError(f"no mean inputs for the metric '{metric}'. Allowed: those of images.")
    weights = weight_matrices(model, include_output=include_output)
    return {
        name: function(
            weight.detach(),
            None if means is None else means[name],
            generator(seed, "random pruning", index),
        )
        for index, (name, weight) in enumerate(weights.items())
    }


def removed_count(ratio: float, size: int) -> int:
    """int(ratio · size), the number of weights that go.

    Raises:
        InputError: for a ratio outside [0, 1].
    """
    if not 0 <= ratio <= 1:
        raise InputError(f"the pruning ratio is {ratio}. Allowed: from 0 to 1.")
    return int(ratio * size)


def rank(metric: Tensor, *, tie_break: Tensor | None = None) -> Tensor:
    """Position of every weight of one matrix in ascending order of `metric`.

    The mask at any ratio is `rank >= int(ratio * size)`. Equal values keep the storage order of
    the article's code, whose matrices are (in, out): all weights of a dead input go before those
    of the next one, in blocks of whole pixels.

    Args:
        metric: (out, in).
        tie_break: (out, in), orders equal values, e.g. |w|; what is equal in both keeps its order.

    Returns:
        int32 (out, in), a permutation of 0..size - 1.
    """
    values = metric.t().flatten()
    if tie_break is None:
        order = values.argsort(stable=True)
    else:
        order = tie_break.t().flatten().argsort(stable=True)
        order = order[values[order].argsort(stable=True)]
    position = torch.empty_like(order, dtype=torch.int32)
    position[order] = torch.arange(len(order), dtype=torch.int32, device=order.device)
    return position.view(metric.t().shape).t().contiguous()


def ranks(
    metric: Mapping[str, Tensor], *, tie_break: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """`rank` of every matrix by itself; of some layers alone, if `metric` holds only those."""
    return {
        name: rank(values, tie_break=None if tie_break is None else tie_break[name])
        for name, values in metric.items()
    }


def masks_at(ranking: Mapping[str, Tensor], ratio: Ratio) -> Masks:
    """Masks that remove the first int(ratio · size) weights of every ranked matrix.

    Raises:
        InputError: for a ratio outside [0, 1], or of a matrix that is not ranked.
    """
    ratios = ratio if isinstance(ratio, Mapping) else dict.fromkeys(ranking, ratio)
    for name in ratios:
        if name not in ranking:
            raise unknown_name("ranked matrix", name, ranking)
    return {
        name: ranking[name] >= removed_count(ratio, ranking[name].numel())
        for name, ratio in ratios.items()
    }


def masks(
    metric: Mapping[str, Tensor], ratio: float, *, tie_break: Mapping[str, Tensor] | None = None
) -> Masks:
    """`masks_at` of the ranking of `metric`; keep `ranks` instead if there is more than one ratio.

    Raises:
        InputError: for a ratio outside [0, 1].
    """
    return masks_at(ranks(metric, tie_break=tie_break), ratio)


def combined_ratios(ratio: float, *, offset: float = 0.07) -> dict[str, float]:
    """The article's rule: absolute at `ratio`, activated at max(0, ratio − offset)."""
    # Rounded, or 0.9 - 0.07 would be more than 0.83.
    return {"absolute": ratio, "activated": max(0.0, round(ratio - offset, 9))}


def combined_masks(
    rankings: Mapping[str, Mapping[str, Tensor]], ratios: Mapping[str, Ratio]
) -> Masks:
    """Union of the removals of several metrics, all ranked on the unpruned network.

    It removes more than the largest ratio: see `sparsity`.

    Args:
        rankings: metric name → its `ranks`; they may cover different matrices.
        ratios: metric name → ratio: `combined_ratios(ratio)` for the plot,
            {"absolute": 0.85, "activated": 0.80} for the table.

    Raises:
        InputError: for a ratio outside [0, 1], or a metric or matrix without ranking.
    """
    kept: Masks = {}
    for metric, ratio in ratios.items():
        if metric not in rankings:
            raise unknown_name("ranked metric", metric, rankings)
        for name, mask in masks_at(rankings[metric], ratio).items():
            kept[name] = kept[name] & mask if name in kept else mask
    return kept


def sparsity(masks: Mapping[str, Tensor]) -> float:
    """Realised share of removed weights over all matrices of `masks`; 0 without any."""
    size = sum(mask.numel() for mask in masks.values())
    return sum(int((~mask).sum()) for mask in masks.values()) / max(size, 1)


@contextmanager
def apply_masks(model: DenseNetwork, masks: Mapping[str, Tensor]) -> Iterator[nn.Module]:
    """`model` with weights times mask; the exact weights come back afterwards.

    Args:
        model: changed in place inside the context.
        masks: any of the matrices, the output layer included; others and biases stay whole.

    Raises:
        InputError: for a mask of an unknown matrix or of another shape.
    """
    weights = dict(model.matrices())
    if not masks.keys() <= weights.keys():
        weights = weight_matrices(model, include_output=True)
    for name, mask in masks.items():
        if name not in weights:
            raise unknown_name("matrix to prune", name, weights)
        if mask.shape != weights[name].shape or mask.dtype != torch.bool:
            raise InputError(
                f"the mask of '{name}' is {mask.dtype} of shape {tuple(mask.shape)}. "
                f"Allowed: torch.bool of shape {tuple(weights[name].shape)}."
            )
    saved = {name: weights[name].detach().clone() for name in masks}
    try:
        for name, mask in masks.items():
            weights[name].data.masked_fill_(~mask.to(weights[name].device), 0)
        yield model
    finally:
        for name, weight in saved.items():
            weights[name].data.copy_(weight)
