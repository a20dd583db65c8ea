"""From configured curves and points to pruned networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from rewire.article import noise_vectors as noised
from rewire.article.configuration import Configuration
from rewire.article.noise_vectors import first_images
from rewire.attacks.universal import Pair, column_labels
from rewire.attacks.universal_files import load_noise
from rewire.data.images import ImageSet, as_float
from rewire.errors import unknown_name
from rewire.evaluation.curve import pruning_curve
from rewire.models.dense import DenseNetwork
from rewire.pipeline.document import NOISE
from rewire.pruning.inputs import mean_inputs
from rewire.pruning.values import (
    NEED_MEANS,
    Pruning,
    apply_masks,
    combined_masks,
    rank,
    score,
    sparsity,
    weight_matrices,
)
from rewire.record import Record
from rewire.rng import derive_seed

IMAGES = "a number of images in curves"


@dataclass(frozen=True)
class Inputs(noised.Inputs):
    """What is pruned and judged: an unpruned network, images, and the noise made on it.

    Attributes:
        noise: (V, 784), on the device.
        pairs: V pairs (target class, limit).
    """

    noise: Tensor
    pairs: list[Pair]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of results."""
        return column_labels(self.pairs)


def load_inputs(config: Configuration, *, trained: Path, noisy: Path) -> Inputs:
    """Read the network of `article_train` and the G1 noise of `article_noise`, and the images.

    Raises:
        InputError: for a missing or damaged file, or one of another network or noise.
    """
    loaded = noised.load_inputs(config, trained)
    noise, pairs, _ = load_noise(noisy / NOISE, expected=config.noise.pairs)
    test = first_images(loaded.test, config.curves.images, name=IMAGES)
    return Inputs(**vars(loaded) | {"test": test}, noise=noise.to(loaded.device), pairs=pairs)


class HeldOut(Record):
    """Correct images of `images` clean validation images, per pruning (S,)."""

    correct: list[int]
    images: int


class Judged(Record):
    """Correct test images of `images` under S prunings.

    Attributes:
        sparsity: (S,), the shares that go of the matrices that are pruned.
        correct: evaluation → counts (S, 1 + V).
        validation: None without held-out images.
    """

    images: int
    sparsity: list[float]
    correct: dict[str, list[list[int]]]
    validation: HeldOut | None


class Rankings:
    """The orders in which the weights of an unpruned network go.

    Args:
        model: the unpruned network.
        training: images on its device.
        seed: of the cell. Equal draws of any curve or point take the same images.
    """

    def __init__(self, model: DenseNetwork, training: ImageSet, *, seed: int) -> None:
        self.model, self.images, self.seed = model, as_float(training.images), seed
        self._means: dict[tuple[int, int | None, bool], dict[str, Tensor]] = {}

    def draw_seed(self, draw: int) -> int:
        """Seed of everything that is drawn for one draw."""
        return derive_seed(self.seed, "pruning draw", draw)

    def means(self, *, draw: int, count: int | None, fresh: bool) -> dict[str, Tensor]:
        """Mean input of every matrix, the output layer included.

        Raises:
            InputError: for more images than there are.
        """
        key = draw, count, fresh
        if key not in self._means:
            self._means[key] = mean_inputs(
                self.model, self.images, count=count, fresh=fresh, seed=self.draw_seed(draw)
            )
        return self._means[key]

    def of(
        self,
        metrics: Iterable[str],
        *,
        draw: int,
        count: int | None,
        fresh: bool,
        matrices: Sequence[str] | None = None,
        include_output: bool = False,
    ) -> dict[str, dict[str, Tensor]]:
        """Metric → matrix name → rank (out, in) of every weight.

        Raises:
            InputError: for an unknown metric or matrix, or more images than there are.
        """
        known = list(weight_matrices(self.model, include_output=include_output))
        for name in matrices or ():
            if name not in known:
                raise unknown_name("matrix to prune", name, known)
        chosen = [name for name in known if matrices is None or name in matrices]
        found = {}
        for metric in metrics:
            sampled = metric in NEED_MEANS
            values = score(
                self.model,
                metric,
                means=self.means(draw=draw, count=count, fresh=fresh) if sampled else None,
                seed=self.draw_seed(draw),
                include_output=include_output,
            )
            found[metric] = {name: rank(values[name]) for name in chosen}
        return found


def judge(
    inputs: Inputs,
    rankings: Mapping[str, Mapping[str, Tensor]],
    prunings: Sequence[Pruning],
    *,
    evaluations: Sequence[str],
    images: int | None = None,
) -> Judged:
    """Count correct images of the network under every pruning.

    Args:
        inputs: network, images and noise.
        rankings: metric → matrix name → ranks, of all that the prunings ask for.
        prunings: S prunings.
        evaluations: of the noise on test images.
        images: the first n test images; None for all.

    Raises:
        InputError: for a matrix without ranking, or more images than there are.
    """
    test, held_out = first_images(inputs.test, images, name=IMAGES), inputs.validation
    names = list(weight_matrices(inputs.model, include_output=True))
    changed = {name for ranking in rankings.values() for name in ranking}
    first = next((name for name in names if name in changed), None)

    def counts(data: ImageSet, noise: Tensor, evaluation: str) -> list[list[int]]:
        return pruning_curve(
            inputs.model,
            lambda pruning: apply_masks(inputs.model, combined_masks(rankings, pruning)),
            prunings,
            as_float(data.images),
            data.labels,
            noise,
            evaluation=evaluation,
            first=first,
        ).tolist()

    validation = None
    if len(held_out):
        clean = [row[0] for row in counts(held_out, inputs.noise[:0], "E1")]
        validation = HeldOut(correct=clean, images=len(held_out))
    return Judged(
        images=len(test),
        sparsity=[sparsity(combined_masks(rankings, pruning)) for pruning in prunings],
        correct={name: counts(test, inputs.noise, name) for name in evaluations},
        validation=validation,
    )
