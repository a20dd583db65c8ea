"""Sparse networks by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from rewire.errors import InputError
from rewire.models.layout import check_sparsity, connection_budget, total_size
from rewire.models.resnet import resnet18
from rewire.models.sparse import SparseConv2d, SparseLinear, SparseNetwork
from rewire.models.vgg import VGG11, VGG16, vgg
from rewire.registry import Registry
from rewire.rng import generator

MODELS: Registry[Callable[..., nn.Module]] = Registry("model")


@MODELS.register("vgg11")
def _vgg11(*, width: float, classes: int, image_size: int) -> nn.Module:
    return vgg(VGG11, width=width, classes=classes, image_size=image_size)


@MODELS.register("vgg16")
def _vgg16(*, width: float, classes: int, image_size: int) -> nn.Module:
    return vgg(VGG16, width=width, classes=classes, image_size=image_size)


@MODELS.register("resnet18")
def _resnet18(*, width: float, classes: int, image_size: int) -> nn.Module:
    return resnet18(width=width, classes=classes)


def build_model(
    name: str,
    *,
    sparsity: float,
    seed: int,
    width: float = 1.0,
    classes: int = 10,
    image_size: int = 32,
    p_init_first: Sequence[float] = (0.6, 0.2),
    p_init_last: Sequence[float] = (0.6,),
    p_init_factor: float = 0.5,
) -> SparseNetwork:
    """A freshly initialised sparse network.

    The first and last layers start with the given fractions connected, every layer between with
    `p_init_factor`·(1 − sparsity); rewiring then fills the network up to its budget (reference
    code: [.6, .2, 0.5p × 8, .6] for VGG11).

    Args:
        name: a key of `MODELS`.
        sparsity: target share of unconnected weights, in (0, 1).
        seed: of the initial weights, signs and connectivity.
        width: factor on all channel counts; 1 is the thesis's network.

    Raises:
        InputError: for an unknown name, a width that is not positive, or initial fractions that
            connect more than the budget (nothing is ever removed to meet it).
    """
    if not 0 < width <= 16:
        raise InputError(f"model.width is {width}. Allowed: above 0, at most 16; 1 is full size.")
    if image_size < 16 or classes < 2:
        raise InputError(
            f"model.image_size is {image_size} and model.classes {classes}. Allowed: images of at "
            "least 16 pixels, at least 2 classes."
        )
    check_sparsity(sparsity)
    body = MODELS[name](width=width, classes=classes, image_size=image_size)
    count = sum(isinstance(m, SparseConv2d | SparseLinear) for m in body.modules())
    middle = count - len(p_init_first) - len(p_init_last)
    if middle < 0:
        raise InputError(f"p_init_first and p_init_last name more than the {count} layers")
    p_init = [*p_init_first, *[p_init_factor * (1 - sparsity)] * middle, *p_init_last]
    random = generator(seed, "model")
    model = SparseNetwork(body, p_init=p_init, generator=random)
    budget = connection_budget(total_size(model.layers), sparsity)
    connected = int((model.theta > 0).sum())
    if connected > budget:
        raise InputError(
            f"the initial fractions p_init connect {connected} weights, more than the budget of "
            f"{budget} at sparsity {sparsity}. Allowed: smaller p_init_first, p_init_last or "
            "p_init_factor, a wider model, or a lower sparsity."
        )
    return model
