"""Accuracy under universal noise against loops over single images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rewire.errors import InputError
from rewire.evaluation.noise import accuracy_under_noise

PIXELS, COUNT, VECTORS = 784, 61, 4
TARGETS = [3, 0, 3, 9]


class Network(nn.Module):
    """784-30-10 with dropout, behind a convolution if `how` says so."""

    def __init__(self, how: str = "dense", *, seed: int = 0) -> None:
        super().__init__()
        self.how = how
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.first, self.output = nn.Linear(PIXELS, 30), nn.Linear(30, 10)
        self.dropout = nn.Dropout(0.5)
        source = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2, generator=source)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "conv":
            x = self.conv(x.view(-1, 1, 28, 28)).relu()
        return self.output(self.dropout(self.first(x.flatten(1)).relu()))


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels that a network gets right about half the time, and noise."""
    source = torch.Generator().manual_seed(1)
    images = torch.rand(COUNT, 1, 28, 28, generator=source)
    labels = torch.randint(0, 10, (COUNT,), generator=source)
    labels[::2] = Network().eval()(images).argmax(dim=1)[::2]
    noise = (torch.rand(VECTORS, PIXELS, generator=source) - 0.5) * torch.tensor(
        [[0.02], [0.1], [0.4], [0.7]]
    )
    return images, labels, noise


def loop(model, data, *, evaluation: str, exclude: bool = False) -> tuple[list[int], list[int]]:
    """(correct, counted) for none and every vector, one image at a time."""
    images, labels, noise = data
    model.eval()
    correct, counted = [], []
    for vector in [None, *noise]:
        right = seen = 0
        for image, label in zip(images, labels.tolist(), strict=True):
            if exclude and vector is not None and label == TARGETS[len(correct) - 1]:
                continue
            fed = image if vector is None else image + vector.view(1, 28, 28)
            if evaluation == "E2":
                fed = fed.clip(0, 1)
            seen += 1
            right += model(fed[None])[0].argmax().item() == label
        correct.append(right)
        counted.append(seen)
    return correct, counted


@pytest.mark.parametrize("how", ["dense", "conv"])
@pytest.mark.parametrize("evaluation", ["E1", "E2"])
@pytest.mark.parametrize("exclude", [False, True])
def test_counts_equal_a_loop_over_images(data, how, evaluation, exclude):
    model = Network(how).train()
    found = accuracy_under_noise(
        model, *data, evaluation=evaluation, batch_size=17,
        exclude_targets=TARGETS if exclude else None,
    )  # fmt: skip
    assert model.training
    assert model.dropout.training
    correct, counted = loop(model, data, evaluation=evaluation, exclude=exclude)
    assert found["correct"] == correct
    assert found["images"] == counted
    assert found["accuracy"] == [r / c for r, c in zip(correct, counted, strict=True)]
    assert len(set(correct)) > 1
    assert counted[0] == COUNT
    assert (min(counted) < COUNT) == exclude


def test_any_network_and_any_batch_size(data):
    images, labels, noise = data
    model = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 10))
    whole = accuracy_under_noise(model, *data)
    assert whole == accuracy_under_noise(model, *data, batch_size=5)
    assert whole == accuracy_under_noise(model, images.flatten(1), labels, noise)
    nothing = accuracy_under_noise(model, images, labels, noise[:0])
    assert nothing["correct"] == whole["correct"][:1]


def test_logits_that_are_not_finite_are_wrong(data):
    model = Network()
    nn.init.constant_(model.output.bias, torch.nan)
    assert accuracy_under_noise(model, *data)["correct"] == [0] * (1 + VECTORS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"evaluation": "E3"}, "unknown noise evaluation 'E3'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"exclude_targets": [1, 2]}, "2 target classes for 4 vectors"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "61 images and 3 labels"),
        ({"images": torch.zeros(0, 1, 28, 28), "labels": torch.zeros(0)}, "at least 1"),
        ({"noise": torch.zeros(4, 700)}, "Allowed"),
        ({"noise": torch.zeros(PIXELS)}, r"Allowed: \(vectors, pixels\)"),
    ],
)
def test_what_is_refused(data, changed, message):
    given = dict(zip(["images", "labels", "noise"], data, strict=True)) | changed
    with pytest.raises(InputError, match=message):
        accuracy_under_noise(Network(), **given)
