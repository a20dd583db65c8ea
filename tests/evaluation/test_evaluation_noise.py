"""Accuracy under universal noise against loops over single images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rewire.errors import InputError
from rewire.evaluation.noise import correct_under_noise

PIXELS, COUNT, VECTORS = 784, 61, 4


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


def loop(model, data, *, evaluation: str) -> list[int]:
    """Correct images for none and every vector, one image at a time."""
    images, labels, noise = data
    model.eval()
    correct = []
    for vector in [None, *noise]:
        right = 0
        for image, label in zip(images, labels.tolist(), strict=True):
            fed = image if vector is None else image + vector.view(1, 28, 28)
            if evaluation == "E2":
                fed = fed.clip(0, 1)
            right += model(fed[None])[0].argmax().item() == label
        correct.append(right)
    return correct


@pytest.mark.parametrize("how", ["dense", "conv"])
@pytest.mark.parametrize("evaluation", ["E1", "E2"])
def test_counts_equal_a_loop_over_images(data, how, evaluation):
    model = Network(how).train()
    found = correct_under_noise(model, *data, evaluation=evaluation, batch_size=17)
    assert model.training
    assert model.dropout.training
    assert found.tolist() == loop(model, data, evaluation=evaluation)
    assert len(set(found.tolist())) > 1


def test_any_network_and_any_batch_size(data):
    images, labels, noise = data
    model = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 10))
    whole = correct_under_noise(model, *data).tolist()
    assert whole == correct_under_noise(model, *data, batch_size=5).tolist()
    assert whole == correct_under_noise(model, images.flatten(1), labels, noise).tolist()
    assert correct_under_noise(model, images, labels, noise[:0]).tolist() == whole[:1]


def test_logits_that_are_not_finite_are_wrong(data):
    model = Network()
    nn.init.constant_(model.output.bias, torch.nan)
    assert correct_under_noise(model, *data).tolist() == [0] * (1 + VECTORS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"evaluation": "E3"}, "unknown noise evaluation 'E3'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "61 images and 3 labels"),
        ({"images": torch.zeros(0, 1, 28, 28), "labels": torch.zeros(0)}, "at least 1"),
        ({"noise": torch.zeros(4, 700)}, "Allowed"),
        ({"noise": torch.zeros(PIXELS)}, r"Allowed: \(vectors, pixels\)"),
    ],
)
def test_what_is_refused(data, changed, message):
    given = dict(zip(["images", "labels", "noise"], data, strict=True)) | changed
    with pytest.raises(InputError, match=message):
        correct_under_noise(Network(), **given)
