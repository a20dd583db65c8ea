"""Universal targeted noise: one additive image that moves every input towards a class.

As the author's notebooks of the article generate it: SGD on the noise alone, all images relabelled
to the target class, the noise clipped to the limit after each step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewire.attacks.checks import check_count, check_real
from rewire.attacks.mode import attack_mode, full_float32, upcast
from rewire.errors import InputError, unknown_name
from rewire.registry import Registry

CLASSES = 10
PIXELS = 28 * 28
CLEAN = "none"
"""Column of the images without noise."""

Pair = tuple[int, float]
"""(target class, limit): the limit bounds every pixel of the noise, in units of [0, 1]."""

VARIANTS: Registry[Callable[[Tensor, Tensor], Tensor]] = Registry("noise variant")
"""What the network is fed while noise is generated, from images and noise."""

EVALUATIONS: Registry[Callable[[Tensor, Tensor], Tensor]] = Registry("noise evaluation")
"""What the network is fed when noise is judged, from images and noise."""

LOSSES: Registry[Callable[[Tensor, Tensor], Tensor]] = Registry("noise loss")
"""Loss per image (N,) from logits (N, classes) and target classes (N,)."""

OPTIMISERS = ("adam", "sgd", "sign")
PRECISIONS = ("32-true", "bf16-mixed")


@VARIANTS.register("G1")
def added_twice(x: Tensor, noise: Tensor) -> Tensor:
    """clip(x + n, 0, 1) + n: as coded, where the first layer adds the noise a second time."""
    return (x + noise).clamp(0, 1) + noise


@VARIANTS.register("G2")
@EVALUATIONS.register("E2")
def clipped(x: Tensor, noise: Tensor) -> Tensor:
    """clip(x + n, 0, 1): a valid image."""
    return (x + noise).clamp(0, 1)


@EVALUATIONS.register("E1")
def unclipped(x: Tensor, noise: Tensor) -> Tensor:
    """x + n, as in the article's plots: pixels leave [0, 1] by up to the limit."""
    return x + noise


@LOSSES.register("ce")
def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of softmax(logits)."""
    return F.cross_entropy(logits, target, reduction="none")


@LOSSES.register("quadratic_linear")
def quadratic_linear(logits: Tensor, target: Tensor) -> Tensor:
    """Half the squared distance of the logits to the one-hot target, averaged over classes."""
    one_hot = F.one_hot(target, logits.shape[1]).to(logits)
    return (one_hot - logits).square().mean(dim=1) / 2


@LOSSES.register("quadratic_relu")
def quadratic_relu(logits: Tensor, target: Tensor) -> Tensor:
    """`quadratic_linear` of ReLU(logits), what the head RQ was trained with."""
    return quadratic_linear(logits.relu(), target)


@LOSSES.register("quadratic_softmax")
def quadratic_softmax(logits: Tensor, target: Tensor) -> Tensor:
    """`quadratic_linear` of softmax(logits)."""
    return quadratic_linear(logits.softmax(dim=1), target)


def pair_label(pair: Pair) -> str:
    """The article's name of a vector: 3/.25 for class 3 and limit 0.25."""
    target, limit = pair
    return f"{target}/{limit:g}".replace("/0.", "/.")


def column_labels(pairs: Sequence[Pair]) -> list[str]:
    """Columns of a result: without noise, then every vector."""
    return [CLEAN, *map(pair_label, pairs)]


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Refuse anything but a non-empty list of (class 0..9, limit in (0, 1]).

    Raises:
        InputError: names the value and what is allowed.
    """
    if not isinstance(pairs, Sequence) or isinstance(pairs, str) or not pairs:
        raise InputError(f"the noise pairs are {pairs!r}. Allowed: at least one (class, limit).")
    for pair in pairs:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise InputError(f"a noise pair is {pair!r}. Allowed: (class, limit), e.g. [3,0.25].")
        target, limit = pair
        check_count("the target class of the noise", target, at_least=0)
        if target >= CLASSES:
            raise InputError(f"the target class of the noise is {target}. Allowed: 0 to 9.")
        check_real("the limit of the noise", limit, above=0, at_most=1)


@dataclass(frozen=True)
class Recipe:
    """How noise is made.

    Attributes:
        steps: gradient steps.
        lr: step size; in units of the pixel range for "sign" and "adam".
        loss: a name in `LOSSES`, averaged over the batch.
        optimiser: "sgd", "sign" (SGD on the sign of the gradient) or "adam" (0.9, 0.999, 1e-8).
        precision: "32-true", full float32, or "bf16-mixed", bf16 autocast of the device; loss,
            noise and update are in float32 either way.
        vectors_per_pass: vectors that share one pass. At 1 a pair's result is bitwise independent
            of the others, and a CPU gains nothing from more; a GPU does, and then results agree up
            to rounding.

    Raises:
        InputError: for a value that is not allowed.
    """

    steps: int = 5000
    lr: float = 0.1
    loss: str = "ce"
    optimiser: str = "sgd"
    precision: str = "32-true"
    vectors_per_pass: int = 1

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_real("lr", self.lr, above=0)
        check_count("vectors_per_pass", self.vectors_per_pass)
        LOSSES[self.loss]  # refuses an unknown name
        if self.optimiser not in OPTIMISERS:
            raise unknown_name("noise optimiser", self.optimiser, OPTIMISERS)
        if self.precision not in PRECISIONS:
            raise unknown_name("noise precision", self.precision, PRECISIONS)


def make_noise(
    model: nn.Module,
    batches: Iterable[Tensor],
    *,
    pairs: Sequence[Pair],
    variant: str = "G1",
    recipe: Recipe,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """One noise vector per (target class, limit), all of them trained on the same batches.

    Each vector starts at zero and follows the gradient of its own mean loss over the batch; after
    every step it is clipped to its limit. Vectors do not interact, so the result for a pair is the
    same whichever other pairs are asked for.

    A step costs one forward and one backward pass (without weight gradients) over V · batch
    images; nothing is shared between vectors, because clipping is not linear. For the article's
    ANN (2.7 million weights) and 250 images that is 2.7 GFLOP per vector and step: about 27 ms on
    one CPU core, 2.3 minutes per vector for 5 000 steps. Where the core computes in bf16,
    "bf16-mixed" takes a quarter of the time: 9 against 37 ms (ANN) and 0.10 against 0.35 s (CNN) on
    one thread of an Intel Xeon with AMX.

    At a pixel value of exactly 0 or 1 the clip passes the gradient on, as in the original
    framework: background pixels can leave zero.

    Args:
        model: images (B, pixels) in [0, 1] → logits (B, 10); its modes and `.grad` are untouched.
        batches: float images (B, ...) on the model's device, one batch per step; the article takes
            250 training images. Batches after the last step are not drawn.
        pairs: V pairs (target class, limit).
        variant: a name in `VARIANTS`: "G1" as coded, "G2" the image clipped once.
        recipe: how.
        progress: called with (steps done, steps).

    Returns:
        float32 (V, pixels).

    Raises:
        InputError: for a value that is not allowed, fewer batches than steps, or noise that is not
            finite.
    """
    check_pairs(pairs)
    place, loss_of, steps = VARIANTS[variant], LOSSES[recipe.loss], recipe.steps

    drawn = itertools.islice(batches, steps)
    first = next(drawn, None)
    if first is None:
        raise InputError(f"no batch of images for {steps} steps. Allowed: one per step.")
    noise = nn.Parameter(first.new_zeros(len(pairs), first[:1].numel()))
    targets, limits = zip(*pairs, strict=True)
    target = torch.tensor(targets, device=noise.device)
    limit = noise.new_tensor(limits)[:, None]
    update = _update(noise, recipe)
    done = 0
    # Around all steps, so that weights are cast to the precision once.
    with _computing(recipe.precision, noise.device), attack_mode(model):
        for x in itertools.chain([first], drawn):
            gradient = torch.cat(
                [
                    _gradient(model, x.flatten(1), part, labels, place, loss_of)
                    for part, labels in zip(
                        noise.detach().split(recipe.vectors_per_pass),
                        target.split(recipe.vectors_per_pass),
                        strict=True,
                    )
                ]
            )
            noise.grad = gradient.sign() if recipe.optimiser == "sign" else gradient
            update.step()
            noise.data.clamp_(-limit, limit)
            done += 1
            if progress is not None:
                progress(done, steps)
    if done < steps:
        raise InputError(f"{done} batches of images for {steps} steps. Allowed: one per step.")
    if not noise.isfinite().all():
        raise InputError("the noise is not finite. Allowed: a model with finite logits.")
    return noise.detach()


def _computing(precision: str, device: torch.device) -> AbstractContextManager[None]:
    if precision == "bf16-mixed":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return full_float32(device)


def _update(noise: nn.Parameter, recipe: Recipe) -> torch.optim.Optimizer:
    """Elementwise updates: no vector's step depends on another's."""
    if recipe.optimiser == "adam":
        return torch.optim.Adam([noise], lr=recipe.lr, betas=(0.9, 0.999), eps=1e-8)
    return torch.optim.SGD([noise], lr=recipe.lr)


def _gradient(model, x: Tensor, noise: Tensor, target: Tensor, place, loss_of) -> Tensor:
    """Gradients (V, pixels) of every vector's mean loss over the images (B, pixels)."""
    with torch.enable_grad():
        noise = noise.requires_grad_()
        fed = place(x, noise[:, None]).flatten(0, 1)
        losses = loss_of(upcast(model(fed)), target.repeat_interleave(len(x)))
        (gradient,) = torch.autograd.grad(losses.sum() / len(x), noise)
    return gradient


def apply_noise(x: Tensor, noise: Tensor, *, evaluation: str = "E1") -> Tensor:
    """Images with noise on them.

    Args:
        x: (B, ...) in [0, 1].
        noise: (pixels,), or (V, pixels) for all vectors at once.
        evaluation: a name in `EVALUATIONS`: "E1" x + n as in the article's plots, "E2" clipped to
            [0, 1].

    Returns:
        The shape of `x`, or (V, *shape of x).

    Raises:
        InputError: for an unknown evaluation, or noise of another number of pixels.
    """
    place = EVALUATIONS[evaluation]
    pixels = x[:1].numel() if len(x) else noise.shape[-1]
    if noise.ndim not in (1, 2) or noise.shape[-1] != pixels:
        raise InputError(
            f"noise of shape {tuple(noise.shape)} on images of {pixels} pixels. "
            f"Allowed: ({pixels},) or (vectors, {pixels})."
        )
    return place(x, noise.reshape(*noise.shape[:-1], 1, *x.shape[1:]))
