"""Mean inputs of weight matrices over images: what the activated metric needs (article)."""

from __future__ import annotations

import torch
from torch import Tensor

from rewire.errors import InputError
from rewire.models.dense import DenseNetwork
from rewire.rng import generator


def metric_images(images: Tensor, *, count: int | None, seed: int, index: int = 0) -> Tensor:
    """The images whose mean inputs `mean_inputs` takes for the matrix at place `index`.

    Raises:
        InputError: for a count outside 1..N.
    """
    asked = len(images) if count is None else count
    if not 1 <= asked <= len(images):
        raise InputError(f"{asked} images for the metric of {len(images)}. Allowed: 1 to all.")
    if count is None:
        return images
    order = torch.randperm(len(images), generator=generator(seed, "metric images", index))
    return images[order[:count].to(images.device)]


@torch.no_grad()
def mean_inputs(
    model: DenseNetwork,
    images: Tensor,
    *,
    count: int | None = None,
    fresh: bool = False,
    seed: int = 0,
    batch_size: int = 500,
) -> dict[str, Tensor]:
    """Mean input of every weight matrix, the output layer included.

    Args:
        model: the unpruned network, read in evaluation mode.
        images: float (N, ...) in [0, 1] on the model's device.
        count: images drawn at random without replacement; the article's code takes 200 training
            images. `None` takes all.
        fresh: whether each matrix gets a draw of its own, as coded by the author.
        seed: of the draws.
        batch_size: images per forward pass.

    Returns:
        Matrix name → float32 (in,), summed in float64.

    Raises:
        InputError: for a count outside 1..N.
    """

    def draw(index: int) -> dict[str, Tensor]:
        drawn = metric_images(images, count=count, seed=seed, index=index)
        return _mean_inputs(model, drawn, batch_size)

    means = draw(0)
    if count is None:
        return means
    if fresh:
        means |= {name: draw(index)[name] for index, name in enumerate(means) if index}
    return means


def _mean_inputs(model: DenseNetwork, images: Tensor, batch_size: int) -> dict[str, Tensor]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        sums: dict[str, Tensor] = {}
        for x in images.split(batch_size):
            for name, inputs in model.inputs_of(x).items():
                sums[name] = sums.get(name, 0) + inputs.sum(dim=0, dtype=torch.float64)
    finally:
        for module, training in modes:
            module.training = training
    return {name: (total / len(images)).float() for name, total in sums.items()}
