"""Classifiers whose robust accuracy is known in closed form, with and without masked gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rewire.attacks.judge import predict_logits
from rewire.attacks.pgd import PGD
from rewire.data.images import ImageSet, as_float
from rewire.evaluation.audit import Case
from rewire.rng import generator

SHAPE = (1, 8, 8)
PIXELS = 64
EPSILON = 8 / 255


class Linear(nn.Module):
    """Class 0 where w·x + b > 0, else class 1; a large `scale` saturates the loss."""

    def __init__(self, *, scale: float = 1.0, seed: int = 0):
        super().__init__()
        w = torch.randn(PIXELS, generator=generator(seed, "linear toy"))
        self.w, self.b = nn.Parameter(w), nn.Parameter(-w.sum() / 2)
        self.scale = scale

    def margin(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w + self.b

    def forward(self, x: Tensor) -> Tensor:
        margin = self.scale * self.margin(x)
        return torch.stack([margin, -margin], dim=1)

    @torch.no_grad()
    def survives(self, data: ImageSet, epsilon: float) -> Tensor:
        """Exactly which images no point of the ball and of [0, 1] fools."""
        x = as_float(data.images).flatten(1).double()
        side = 1 - 2 * data.labels.double()[:, None]
        against = -side * self.w.double().sign()
        room = torch.where(against > 0, 1 - x, x).clamp_max(epsilon)
        worst = x + against * room
        return (side[:, 0] * (worst @ self.w.double() + self.b.double())) > 0


class DeadUnit(nn.Module):
    """Class 1 where the mean pixel is above a threshold, behind a ReLU that is dead below it.

    Uniform starts hardly move the mean, so the gradient is exactly zero wherever PGD begins; all
    pixels together reach the threshold easily.
    """

    def __init__(self, *, functional: bool = False):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.relu = torch.relu if functional else nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        above = self.relu(1000 * (x.flatten(1).mean(dim=1) - 0.5 - EPSILON / 2))
        return torch.stack([torch.ones_like(above) + self.anchor, above], dim=1)


class Constant(nn.Module):
    """Always class 0, with a gradient that leads nowhere."""

    def forward(self, x: Tensor) -> Tensor:
        gentle = x.flatten(1).mean(dim=1)
        return torch.stack([5 + gentle, gentle / 2], dim=1)


def grey(images: int = 40, *, spread: int = 12, seed: int = 0) -> ImageSet:
    """Images around mid-grey, so that no ball meets the edges of [0, 1]; labels all 0."""
    source = generator(seed, "grey toy")
    pixels = torch.randint(128 - spread, 128 + spread, (images, *SHAPE), generator=source)
    indices = torch.arange(images) + 100
    return ImageSet(pixels.to(torch.uint8), torch.zeros(images, dtype=torch.int64), indices)


def labelled_by(model: Linear, data: ImageSet) -> ImageSet:
    """The images with the labels that the model gives them, but for every tenth."""
    with torch.no_grad():
        labels = model(as_float(data.images)).argmax(1)
    labels[::10] = 1 - labels[::10]
    return ImageSet(data.images, labels, data.indices)


def case_of(model: nn.Module, data: ImageSet, *, tolerance: float = 1.0, **options) -> Case:
    """The case with the ledger of a real attack."""
    attack = PGD(**{"epsilon": EPSILON, "steps": 10, "restarts": 2} | options)
    x = as_float(data.images)
    found = attack.attack(model, x, data.labels, indices=data.indices)
    clean = predict_logits(model, x, batch_size=64).argmax(1) == data.labels
    return Case(model, data, clean, found.correct, attack, tolerance)
