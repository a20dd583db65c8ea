"""From the configured group `noise` to vectors and counts."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rewire.article.configuration import Configuration, Noise
from rewire.article.results import Counts
from rewire.attacks.universal import CLASSES, Pair, Recipe, make_noise, pair_label
from rewire.data.batches import TrainBatches
from rewire.data.checks import check_count
from rewire.data.images import ImageSet, as_float
from rewire.data.load import load_images
from rewire.errors import InputError
from rewire.evaluation.noise import correct_under_noise
from rewire.models.artifact import load_dense
from rewire.models.dense import DenseNetwork
from rewire.pipeline.document import WEIGHTS
from rewire.pipeline.partial_results import Part
from rewire.progress import bar, tell
from rewire.rng import derive_seed
from rewire.training.device import choose_device, choose_precision, use_threads

Draw = Callable[[], Iterator[Tensor]]
"""Starts a sequence of float batches (batch_size, 784) anew."""


@dataclass(frozen=True)
class Inputs:
    """A trained network and the images for it, on the device."""

    model: DenseNetwork
    training: ImageSet
    validation: ImageSet
    test: ImageSet
    device: torch.device


def load_inputs(config: Configuration, trained: Path) -> Inputs:
    """Read what `article_train` left in the folder `trained`, and the images.

    Raises:
        InputError: for a missing or damaged file, or one of another network.
    """
    device = choose_device(config.trainer.device)
    use_threads(config.trainer.threads)
    # Weights that the L2 penalty shrank make denormal products, which are slow.
    torch.set_flush_denormal(True)
    model = load_dense(trained / WEIGHTS, expected=config.network.model_dump()).to(device)
    training, validation, test = (images.to(device) for images in load_images(config.data))
    return Inputs(model, training, validation, test, device)


def first_images(data: ImageSet, count: int | None, *, name: str = "test images") -> ImageSet:
    """The first `count` images in the official order, whatever their classes; None for all.

    Raises:
        InputError: for a count out of range; calls it `name`.
    """
    if count is None:
        return data
    check_count(name, count, low=1, high=len(data))
    return data.take(torch.arange(count))


def noise_recipe(noise: Noise, device: torch.device) -> Recipe:
    """The recipe of the group `noise`, "auto" replaced by what it means here.

    Raises:
        InputError: for a value that is not allowed; nothing has been computed then.
    """
    together = noise.vectors_per_pass
    if together == "auto":
        together = 1 if device.type == "cpu" else len(noise.pairs)
    return Recipe(
        steps=noise.steps,
        lr=noise.lr,
        loss=noise.loss,
        optimiser=noise.optimiser,
        precision=choose_precision(noise.precision, device),
        vectors_per_pass=together,
    )


def noise_batches(training: ImageSet, *, batch_size: int, seed: int) -> Draw:
    """The cell's endless sequence of batches.

    Every vector sees the same ones, whichever vectors were made before.

    Args:
        training: the images, on the device.
        batch_size: images per batch.
        seed: of the cell.

    Raises:
        InputError: for a batch size out of range.
    """
    check_count("noise.batch_size", batch_size, low=1, high=len(training))

    def draw() -> Iterator[Tensor]:
        batches = TrainBatches(
            training,
            batch_size=batch_size,
            seed=derive_seed(seed, "noise batches"),
            augmentation="none",
            device=training.images.device,
        )
        while True:
            for x, _ in batches:
                yield x.flatten(1)

    return draw


def make_vectors(
    part: Part,
    name: str,
    model: nn.Module,
    draw: Draw,
    *,
    pairs: Sequence[Pair],
    variant: str,
    recipe: Recipe,
) -> Tensor:
    """Noise (V, 784) on the CPU; what shares a pass is one part, `name`-0, `name`-1, ...

    Args:
        part: of the stage; see `rewire.pipeline.partial_results`.
        name: of these vectors, unique in the stage.
        model: see `make_noise`.
        draw: what `noise_batches` gave.
        pairs, variant, recipe: of `make_noise`.
    """

    def compute(shared: Sequence[Pair], before: int) -> list[list[float]]:
        started = time.perf_counter()
        found = make_noise(
            model,
            draw(),
            pairs=shared,
            variant=variant,
            recipe=recipe,
            progress=lambda done, _: shown.update(before + done - shown.n),
        )
        seconds = time.perf_counter() - started
        tell(shown, f"{name} {' '.join(map(pair_label, shared))}  {seconds:.1f} s")
        return found.tolist()

    vectors: list[list[float]] = []
    together, steps = recipe.vectors_per_pass, recipe.steps
    passes = [pairs[i : i + together] for i in range(0, len(pairs), together)]
    with bar(name, total=len(passes) * steps, unit="step") as shown:
        for number, shared in enumerate(passes):
            work = functools.partial(compute, shared, number * steps)
            vectors += part(f"{name}-{number}", work)
            shown.update((number + 1) * steps - shown.n)
    return torch.tensor(vectors)


def judged(
    model: nn.Module, test: ImageSet, noise: Tensor, pairs: Sequence[Pair], *, evaluation: str
) -> dict[str, Counts]:
    """Correct test images under every vector: of all, and of those of another class than its own.

    Images are judged class by class, so that one pass gives both counts.

    Args:
        model, evaluation: see `correct_under_noise`.
        test: the images, on the model's device.
        noise: (V, 784) on any device.
        pairs: V pairs (target class, limit).

    Returns:
        Counts by "all" and "non_target"; without noise all images count in both.
    """
    images, noise = as_float(test.images), noise.to(test.images.device)
    correct = np.zeros((CLASSES, 1 + len(noise)), int)
    sizes = np.zeros((CLASSES, 1), int)
    for label in test.labels.unique().tolist():
        own = test.labels == label
        correct[label] = correct_under_noise(
            model, images[own], test.labels[own], noise, evaluation=evaluation
        )
        sizes[label] = int(own.sum())
    others = np.array(
        [[True, *(label != target for target, _ in pairs)] for label in range(CLASSES)]
    )
    return {
        name: Counts(
            correct=(correct * counted).sum(axis=0).tolist(),
            images=(sizes * counted).sum(axis=0).tolist(),
        )
        for name, counted in (("all", np.ones_like(others)), ("non_target", others))
    }


def check_distinct(pairs: Sequence[Pair]) -> None:
    """Refuse two pairs of one name: columns of results would be mistaken for each other.

    Raises:
        InputError: names the pair.
    """
    labels = [pair_label(pair) for pair in pairs]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"noise.pairs names {label} twice. Allowed: every pair once.")
