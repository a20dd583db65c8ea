"""A small classifier, robust on some images and not on others; plain PGD; a detector of waits."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from rewire.attacks.judge import CLEAN_WRONG, SURVIVED
from rewire.rng import generator

EPSILON = 8 / 255
CLASSES = 4


def conv_net(*, batch_norm: bool = True, seed: int = 0) -> nn.Sequential:
    """Two convolutions and a dense layer for images (B, 3, 8, 8), in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        norm = nn.BatchNorm2d(8) if batch_norm else nn.Identity()
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            norm,
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 4 * 4, CLASSES),
        )


def images(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy class prototypes in [0, 1]: (count, 3, 8, 8) and their labels."""
    prototypes = torch.randn(
        CLASSES, 3, 8, 8, generator=torch.Generator().manual_seed(1000), dtype=torch.float32
    )
    source = torch.Generator().manual_seed(seed)
    y = torch.randint(0, CLASSES, (count,), generator=source)
    noise = torch.randn(count, 3, 8, 8, generator=source)
    return (0.5 + 0.05 * prototypes[y] + 0.15 * noise).clamp(0, 1), y


@functools.cache
def trained() -> nn.Sequential:
    """`conv_net` trained for about a second, in evaluation mode. Do not change it."""
    model = conv_net()
    x, y = images(2048, seed=1)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    order = torch.Generator().manual_seed(2)
    for _ in range(8):
        for rows in torch.randperm(len(x), generator=order).split(128):
            optimiser.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
    return model.eval()


def slow_pgd(model, x, y, indices, attack, *, starts=None) -> list[int]:
    """Per image, one at a time, in plain loops: which of the starts fools first, or a code."""
    starts = range(attack.restarts) if starts is None else starts
    found = []
    for image, label, index in zip(x, y, indices.tolist(), strict=True):

        def wrong(point, label=label):
            with torch.no_grad():
                return model(point[None]).argmax().item() != label.item()

        code = CLEAN_WRONG if wrong(image) else SURVIVED
        for place, restart in enumerate(starts if code == SURVIVED else ()):
            source = generator(attack.seed, "pgd start", index, restart)
            noise = torch.rand(image.shape, generator=source) * 2 - 1
            point = (image + attack.epsilon * noise).clamp(0, 1)
            for _ in range(attack.steps):
                if wrong(point):
                    break
                point.requires_grad_()
                loss = nn.functional.cross_entropy(model(point[None]), label[None])
                (gradient,) = torch.autograd.grad(loss, point)
                moved = point.detach() + attack.step * gradient.sign()
                delta = (moved - image).clamp(-attack.epsilon, attack.epsilon)
                point = (image + delta).clamp(0, 1)
            if wrong(point):
                code = place
                break
        found.append(code)
    return found


class NoWaiting(TorchDispatchMode):
    """Refuses operations that make the host wait for the device."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.FORBIDDEN, name
        return func(*args, **(kwargs or {}))
